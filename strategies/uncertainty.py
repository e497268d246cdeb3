"""Uncertainty sampling: three ways to ask for what the learner is least sure of."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, QueryStrategy, Rows, Signal
from strategies.kernels.top import first_rows
from strategies.scores import LogProbs, entropy, log_doubt, log_ratio, margin

_SATURATED = 1 - 2.0**-20  # float64 keeps less than 10 digits of 1 - margin beyond this


class LeastConfidence(QueryStrategy):
    """Asks for the samples whose likeliest class is least likely.

    Lewis & Gale 1994, "A sequential algorithm for training text classifiers". The score is
    1 - max p; the order is that of its logarithm, which does not saturate.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs"})
    name: Literal["least_confidence"] = "least_confidence"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        doubt = log_doubt(_log_probs(candidates))
        rows = first_rows(-doubt, batch_size)
        return Picks(rows=rows, scores=np.exp(doubt[rows]))


class MarginSampling(QueryStrategy):
    """Asks for the samples torn between their two likeliest classes.

    Scheffer, Decomain & Wrobel 2001, "Active hidden Markov models for information extraction". The
    score is p1 - p2, smallest first. Near 1, where differences are lost in rounding, equal scores
    are ordered by the ratio p1/p2.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs"})
    name: Literal["margin"] = "margin"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs = _log_probs(candidates)
        margins = margin(log_probs)

        def by_ratio(tied: Rows) -> Doubles:
            return np.where(margins[tied] > _SATURATED, log_ratio(log_probs[tied]), 0.0)

        rows = first_rows(margins, batch_size, ties=by_ratio)
        return Picks(rows=rows, scores=margins[rows])


class EntropySampling(QueryStrategy):
    """Asks for the samples whose predicted class distribution has most entropy.

    Shannon 1948 for the measure; Settles 2009, section 3.1, for its use. The score is the entropy
    in nats. With many classes it also prefers samples that are merely spread over unlikely classes;
    `margin` is the better first choice.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs"})
    name: Literal["entropy"] = "entropy"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        entropies: Doubles = entropy(_log_probs(candidates))
        rows = first_rows(-entropies, batch_size)
        return Picks(rows=rows, scores=entropies[rows])


def _log_probs(candidates: Candidates) -> LogProbs:
    assert candidates.log_probs is not None  # check_request saw that `needs` are given
    return candidates.log_probs
