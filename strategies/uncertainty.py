"""Uncertainty sampling: three ways to ask for what the learner is least sure of."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Rows, Signal
from strategies.families import ScoreStrategy
from strategies.kernels.top import first_rows
from strategies.scores import LogProbs, entropy, log_doubt, log_ratio, margin

_SATURATED = 1 - 2.0**-20  # float64 keeps less than 10 digits of 1 - margin beyond this


class LeastConfidence(ScoreStrategy):
    """Asks for the samples whose likeliest class is least likely.

    The score is 1 - max p; the order is that of its logarithm, which does not saturate.

    Reference: Lewis & Gale 1994, "A sequential algorithm for training text classifiers", SIGIR.
    Cost: O(N C) time.
    Use: the plainest measure of doubt. It looks at one class alone; `margin` is the better first
    choice with more than two, and the same with two. Batches repeat themselves (see `badge`).
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs"})
    name: Literal["least_confidence"] = "least_confidence"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return np.exp(log_doubt(_log_probs(candidates)))

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        return least_confident(_log_probs(candidates), batch_size)


class MarginSampling(ScoreStrategy):
    """Asks for the samples torn between their two likeliest classes.

    The score is p1 - p2, smallest first. Near 1, where differences are lost in rounding, equal
    scores are ordered by the ratio p1/p2. Strategies around this one see 1 - (p1 - p2).

    Reference: Scheffer, Decomain & Wrobel 2001, "Active hidden Markov models for information
    extraction", IDA.
    Cost: O(N C) time.
    Use: the first choice where nothing is known: cheap, and hard to beat by much. Where classes are
    imbalanced or the pool repeats itself, `badge`.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs"})
    name: Literal["margin"] = "margin"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return np.maximum(1 - margin(_log_probs(candidates)), 0.0)

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        return narrowest(_log_probs(candidates), batch_size)


class EntropySampling(ScoreStrategy):
    """Asks for the samples whose predicted class distribution has most entropy.

    The score is the entropy in nats.

    Reference: Shannon 1948, "A mathematical theory of communication", for the measure; Settles
    2009, "Active learning literature survey", section 3.1, for its use.
    Cost: O(N C) time.
    Use: for comparison with others' results. With many classes it also prefers samples that are
    merely spread over unlikely classes; `margin` is the better first choice.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs"})
    name: Literal["entropy"] = "entropy"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return entropy(_log_probs(candidates))


def least_confident(log_probs: LogProbs, batch_size: int) -> Picks:
    """The rows whose likeliest class is least likely; scored 1 - max p."""
    doubt = log_doubt(log_probs)
    rows = first_rows(-doubt, batch_size)
    return Picks(rows=rows, scores=np.exp(doubt[rows]))


def narrowest(log_probs: LogProbs, batch_size: int) -> Picks:
    """The rows with the smallest margin, which is the score; near 1 by the ratio p1/p2."""
    margins = margin(log_probs)

    def by_ratio(tied: Rows) -> Doubles:
        return np.where(margins[tied] > _SATURATED, log_ratio(log_probs[tied]), 0.0)

    rows = first_rows(margins, batch_size, ties=by_ratio)
    return Picks(rows=rows, scores=margins[rows])


def _log_probs(candidates: Candidates) -> LogProbs:
    assert candidates.log_probs is not None  # check_request saw that `needs` are given
    return candidates.log_probs
