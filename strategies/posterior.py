"""Scores of several draws from a posterior: how unsure their mean is, how much they disagree.

A draw is a network with one dropout mask, the same for all samples, or a member of a committee.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Doubles, Floats, Picks, Signal, StrategyError
from strategies.families import ScoreStrategy
from strategies.scores import (
    entropy,
    log_doubt,
    margin,
    mean_log_probs,
    mean_std,
    variation_ratio,
)
from strategies.uncertainty import least_confident, narrowest


class VariationRatio(ScoreStrategy):
    """Asks for the samples about whose class the draws are most divided.

    Each draw votes for its likeliest class, the first of equals. The score is the share of votes
    that did not go to the class with most of them. There are no more than K such shares, so a batch
    is largely made of ties, which ids decide.

    Reference: Freeman 1965, "Elementary applied statistics", for the measure; Gal 2016,
    "Uncertainty in deep learning" (thesis), section 3.3.1, and Beluch et al. 2018, "The power of
    ensembles for active learning in image classification", CVPR, for its use.
    Cost: O(N K C) time.
    Use: with an ensemble of many members. With few draws the ties say little: `bald` or `mean_std`.
    Differs: Gal, Islam & Ghahramani 2017 give the name to 1 - max p of the mean prediction, which
    is `least_confidence_mc` here.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["variation_ratio"] = "variation_ratio"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return variation_ratio(several_draws(self.name, candidates))


class MeanStd(ScoreStrategy):
    """Asks for the samples whose class probabilities vary most between draws.

    The score is the standard deviation of a class probability over the draws, mean over classes.

    Reference: Kampffmeyer, Salberg & Jenssen 2016, "Semantic segmentation of small objects and
    modeling of uncertainty in urban remote sensing images", CVPR workshops; Gal, Islam &
    Ghahramani 2017, https://arxiv.org/abs/1703.02910 ("mean STD").
    Cost: O(N K C) time.
    Use: a cheap relative of `bald`, which weighs a disagreement about rare classes more.
    Differs: the deviation is that of the K draws themselves, divided by K and not by K - 1; this
    changes no order.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["mean_std"] = "mean_std"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return mean_std(several_draws(self.name, candidates))


class LeastConfidenceMC(ScoreStrategy):
    """Asks for the samples whose likeliest class is least likely, on average over the draws.

    The score is 1 - max p of the mean prediction; the order is that of its logarithm.

    Reference: Gal, Islam & Ghahramani 2017, "Deep Bayesian active learning with image data",
    https://arxiv.org/abs/1703.02910, on acquisition functions of the mean prediction.
    Cost: O(N K C) time, O(N C) extra memory.
    Use: as `least_confidence`, where draws are at hand: their mean is better calibrated. Equal
    draws give what `least_confidence` gives.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["least_confidence_mc"] = "least_confidence_mc"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return np.exp(log_doubt(mean_log_probs(draws_of(candidates))))

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        return least_confident(mean_log_probs(draws_of(candidates)), batch_size)


class MarginMC(ScoreStrategy):
    """Asks for the samples torn between the two classes likeliest on average over the draws.

    The score is p1 - p2 of the mean prediction, smallest first, as in `margin`.

    Reference: Scheffer, Decomain & Wrobel 2001, "Active hidden Markov models for information
    extraction", IDA, for the margin; Gal & Ghahramani 2016, "Dropout as a Bayesian approximation",
    https://arxiv.org/abs/1506.02142, for the mean prediction.
    Cost: O(N K C) time, O(N C) extra memory.
    Use: as `margin`, where draws are at hand. Equal draws give what `margin` gives.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["margin_mc"] = "margin_mc"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return np.maximum(1 - margin(mean_log_probs(draws_of(candidates))), 0.0)

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        return narrowest(mean_log_probs(draws_of(candidates)), batch_size)


class EntropyMC(ScoreStrategy):
    """Asks for the samples whose mean prediction has most entropy.

    The score is the entropy of the mean over the draws, in nats: doubt of every draw and
    disagreement between them together.

    Reference: Gal, Islam & Ghahramani 2017, "Deep Bayesian active learning with image data",
    https://arxiv.org/abs/1703.02910 ("max entropy").
    Cost: O(N K C) time, O(N C) extra memory.
    Use: as `entropy`, where draws are at hand. `bald` asks for the disagreement alone, and leaves
    samples that no label would make clearer.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["entropy_mc"] = "entropy_mc"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return entropy(mean_log_probs(draws_of(candidates)))


def draws_of(candidates: Candidates) -> Floats:
    """The draws about each candidate, (N, K, C)."""
    assert candidates.mc_log_probs is not None  # check_request saw that `needs` are given
    return candidates.mc_log_probs


def several_draws(name: str, candidates: Candidates) -> Floats:
    """The draws about each candidate, (N, K, C), of which there must be two.

    Raises:
        StrategyError: There is one draw, which agrees with itself everywhere.
    """
    draws = draws_of(candidates)
    if draws.shape[1] < 2:
        raise StrategyError(
            f"{name} compares draws, and mc_log_probs holds {draws.shape[1]} of each sample; "
            "take 10 or more, or a strategy for a single prediction, such as margin"
        )
    return draws
