"""Multinomial logistic regression, to its one optimum.

Legend: ``M`` samples, ``C`` classes, ``D`` width of features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the descent ended; logits = features @ weight.T + bias."""

    weight: Doubles  # (C, D)
    bias: Doubles  # (C,)
    loss: float  # mean cross-entropy over samples, without the penalty
    iterations: int
    has_converged: bool


def fit_logistic(
    features: Floats | Doubles,
    labels: npt.NDArray[np.int64],
    num_classes: int,
    *,
    l2: float,
    max_iterations: int,
) -> Solution:
    """Minimises the sum over samples of -log softmax(logits)[label] + l2/2 ‖(weight, bias)‖².

    The bias is penalised too: without that, the bias of a class without samples would run to minus
    infinity. So the optimum is unique, whichever classes are among `labels`.

    Args:
        features: (M, D), of about unit scale.
        labels: (M,) in [0, C).
        num_classes: C.
        l2: Weight of the penalty, > 0.
        max_iterations: Of L-BFGS, at most.
    """
    count, width = features.shape
    extended = np.concatenate([features, np.ones((count, 1))], axis=1, dtype=np.float64)
    # One thread: the products are thin, and their last bits must not hang on the worker's cores.
    with threadpool_limits(limits=1):
        found = minimize(
            _objective,
            np.zeros(num_classes * (width + 1)),
            args=(extended, labels, l2),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations, "gtol": 1e-6, "ftol": 1e-12, "maxcor": 20},
        )
    head = found.x.reshape(num_classes, width + 1)
    penalty = l2 / 2 * float(found.x @ found.x) / count
    return Solution(
        weight=head[:, :-1],
        bias=head[:, -1],
        loss=float(found.fun) - penalty,
        iterations=int(found.nit),
        has_converged=bool(found.success),
    )


def _objective(
    flat: Doubles, extended: Doubles, labels: npt.NDArray[np.int64], l2: float
) -> tuple[float, Doubles]:
    """What is minimised and its gradient, over M, so that one tolerance serves sets of all sizes.

    The head (C, D + 1) is handed over flat, its bias last; so `extended` (M, D + 1) ends in ones.
    """
    rows, count = np.arange(len(labels)), len(labels)
    log_probs = log_softmax(extended @ flat.reshape(-1, extended.shape[1]).T, axis=1)
    value = -log_probs[rows, labels].sum() + l2 / 2 * (flat @ flat)
    residual = np.exp(log_probs)
    residual[rows, labels] -= 1
    return float(value) / count, ((residual.T @ extended).ravel() + l2 * flat) / count
