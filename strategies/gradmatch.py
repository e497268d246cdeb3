"""GradMatch: a batch whose gradients add up to those of the whole pool."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import (
    Candidates,
    Doubles,
    Picks,
    QueryStrategy,
    Signal,
    StrategyError,
    Validation,
)
from strategies.kernels.exact import ExactPool
from strategies.kernels.factored import FactoredPool
from strategies.kernels.matching import match_fixed, match_pursuit

_SIGNALS: frozenset[Signal] = frozenset({"log_probs", "embeddings"})


class GradMatch(QueryStrategy):
    """Asks for the batch whose weighted gradients come nearest to those of the whole pool.

    With g_i the last-layer gradient of a candidate towards its likeliest class, the batch S and
    its weights w make ``|Σ w_s g_s - T|`` small for a target T. `fixed` has weights 1, and the next
    pick is the one that lowers the squared distance most, by which it is scored. `omp` is
    orthogonal matching pursuit: the next pick has the largest inner product with what is left of
    T, by which it is scored, and all weights, at least 0, are then fitted anew with a ridge. Where
    no gradient points to what is left, `omp` is filled up by the rule of `fixed`. The weights of
    the picks are the map "weight". No draws.

    Reference: Killamsetty, Durga, Ramakrishnan, De & Iyer 2021, "GRAD-MATCH: gradient matching
    based data subset selection for efficient deep model training",
    https://arxiv.org/abs/2103.00123; towards likeliest classes, as DISTIL has it.
    Cost: O(B N (C + D)) time for `fixed`, O(B N C D + B⁴) for `omp`; O(N D + B²) memory.
    Use: where a batch should stand for the whole pool as the learner sees it. Easy samples have
    small gradients and are seldom asked for. Not in the first rounds, when likeliest classes are
    mostly wrong.
    Differs: definition follows the public description of DISTIL, not checked against the paper's
    text. The target is scaled as documented there (`scale`), not as its code does. Picks that `omp`
    leaves open are not drawn at random. A tolerance at which pursuit stops early has no part here,
    since a batch has exactly B samples.
    """

    is_prefix: ClassVar[bool] = False
    name: Literal["gradmatch"] = "gradmatch"
    solver: Literal["fixed", "omp"] = "fixed"
    """`fixed`: all weights are 1. `omp`: orthogonal matching pursuit, weights >= 0."""
    target: Literal["pool", "validation"] = "pool"
    """What the batch should stand for: the pool with its likeliest classes, or the validation
    samples with their classes (which are spent labels)."""
    scale: Literal["batch", "pool"] = "batch"
    """How often the mean gradient of the target is taken: `batch`, B times, so that B samples with
    weights near 1 can reach it; `pool`, N times, which is what DISTIL's code does."""
    ridge: float = Field(default=0.5, gt=0)
    """Weight of the squared weights in the fit of `omp`, often written λ."""
    bias: bool = False
    """Whether the gradient of the bias has a part."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        return _SIGNALS | {"validation"} if self.target == "validation" else _SIGNALS

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, embeddings = candidates.log_probs, candidates.embeddings
        assert log_probs is not None  # check_request saw that `needs` are given
        assert embeddings is not None
        pool = FactoredPool.of(log_probs, ExactPool.of(embeddings), bias=self.bias)
        wanted = self._mean(pool, candidates.validation)
        wanted *= batch_size if self.scale == "batch" else len(pool)
        if self.solver == "fixed":
            match = match_fixed(pool, wanted, batch_size)
        else:
            match = match_pursuit(pool, wanted, batch_size, ridge=self.ridge)
        weights = np.zeros(len(pool))
        weights[match.rows] = match.weights
        notes = {
            "residual": match.residual,
            "pursued": match.pursued,
            "least_weight": float(match.weights.min()),
            "largest_weight": float(match.weights.max()),
        }
        return Picks(rows=match.rows, scores=match.scores, notes=notes, maps={"weight": weights})

    def _mean(self, pool: FactoredPool, validation: Validation | None) -> Doubles:
        """The mean gradient of the target: (C, D + 1), (C, D) without bias."""
        if self.target == "pool":
            return pool.total() / len(pool)
        assert validation is not None
        labels = validation.labels
        if not len(labels):
            raise StrategyError(
                "gradmatch has no validation samples to match; give some, or take target: pool"
            )
        embeddings = ExactPool.of(validation.embeddings)
        of = FactoredPool.of(validation.log_probs, embeddings, bias=self.bias, labels=labels)
        return of.total() / len(labels)
