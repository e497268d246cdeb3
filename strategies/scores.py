"""Acquisition functions: log-probabilities in, one score a row out; pure, in float64.

Everything starts from log-probabilities, so that a class of probability zero costs no NaN and rows
of a saturated softmax, whose float32 probabilities all read 1.0, still differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Floats
from strategies.kernels.blocks import NARROW_ROWS, map_blocks

LogProbs = Floats | Doubles


def log_doubt(log_probs: LogProbs) -> Doubles:
    """The logarithm of 1 - max p: (N, C) -> (N,), in [-inf, log(1 - 1/C)]; higher is less sure.

    Taken as the log of the sum of all other classes, which does not saturate. Lewis & Gale 1994
    (least confidence).
    """
    return _over_rows(_log_doubt, log_probs)


def margin(log_probs: LogProbs) -> Doubles:
    """p1 - p2 of the two likeliest classes: (N, C) -> (N,), in [0, 1]; lower is less sure.

    With one class p2 is 0. Scheffer et al. 2001.
    """
    return _over_rows(_margin, log_probs)


def log_ratio(log_probs: LogProbs) -> Doubles:
    """The log ratio log p1 - log p2 of the two likeliest classes: (N, C) -> (N,), in [0, inf].

    Of two rows whose margins round to the same number near 1, the one with the smaller ratio has
    the smaller margin.
    """
    return _over_rows(_log_ratio, log_probs)


def entropy(log_probs: LogProbs) -> Doubles:
    """-sum p log p in nats: (N, C) -> (N,), in [0, log C]; higher is less sure."""
    return _over_rows(_entropy, log_probs)


def _over_rows(score: Callable[[Doubles], Doubles], log_probs: LogProbs) -> Doubles:
    """Applies `score` to class-major float64 blocks, (C, rows), and joins the answers."""

    def of_block(rows: slice) -> Doubles:
        # One contiguous row a class: each step below is then one pass of vector instructions.
        return score(np.asarray(log_probs[rows]).T.astype(np.float64, order="C"))

    blocks = map_blocks(of_block, len(log_probs), block_rows=NARROW_ROWS)
    return np.concatenate(blocks) if blocks else np.empty(0)


def _top_two(classes: Iterable[Doubles]) -> tuple[Doubles, Doubles]:
    """The largest and second largest value of each column; -inf where there is no second."""
    classes = iter(classes)
    best = next(classes).copy()
    second = np.full_like(best, -np.inf)
    for values in classes:
        np.maximum(second, np.minimum(best, values), out=second)
        np.maximum(best, values, out=best)
    return best, second


def _log_doubt(classes: Doubles) -> Doubles:
    _, second = _top_two(classes)
    # Relative to the runner-up every other class counts e^(l - second) <= 1. Capped there, the
    # likeliest class counts exactly 1, which is taken off again.
    base = np.where(second > -np.inf, second, 0.0)
    others = np.exp(np.minimum(classes, base) - base).sum(axis=0) - 1.0
    with np.errstate(divide="ignore"):
        return np.where(second > -np.inf, base + np.log(others), -np.inf)


def _margin(classes: Doubles) -> Doubles:
    best, second = _top_two(classes)
    gaps: Doubles = -np.exp(best) * np.expm1(second - best)
    return gaps


def _log_ratio(classes: Doubles) -> Doubles:
    best, second = _top_two(classes)
    gaps: Doubles = best - second
    return gaps


def _entropy(classes: Doubles) -> Doubles:
    # A class ruled out has log p = -inf and adds nothing; a finite stand-in makes its term 0.
    terms: npt.NDArray[np.float64] = np.maximum(classes, -1e4)
    total: Doubles = -(np.exp(terms) * terms).sum(axis=0)
    return np.maximum(total, 0.0)
