"""Query by committee: ask where the members disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from typing_extensions import override

from strategies.base import Candidates, Doubles, Signal
from strategies.families import ScoreStrategy
from strategies.posterior import several_draws
from strategies.scores import (
    LogProbs,
    entropy,
    largest_divergence,
    mean_log_probs,
    mutual_information,
    vote_entropy,
)

Measure = Literal["vote_entropy", "consensus_entropy", "kl_mean", "kl_max"]


class QueryByCommittee(ScoreStrategy):
    """Asks for the samples the members of a committee disagree about most.

    The draws are the members. The score is the chosen measure of disagreement, in nats.

    Reference: Seung, Opper & Sompolinsky 1992, "Query by committee", COLT, for the idea; Dagan &
    Engelson 1995, "Committee-based sampling for training probabilistic classifiers", ICML
    (vote_entropy); McCallum & Nigam 1998, "Employing EM and pool-based active learning for text
    classification", ICML (kl_mean).
    Cost: O(N K C) time; consensus_entropy O(N C) extra memory.
    Use: with an ensemble trained from different seeds. With few members, kl_mean: votes make few
    distinct scores, and ties go by id.
    Differs: vote_entropy is not divided by log min(K, C), which changes no order. A committee of
    one is refused.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["qbc"] = "qbc"

    measure: Measure = "vote_entropy"
    """vote_entropy, of the shares of members for each class; consensus_entropy, of the mean
    prediction; kl_mean or kl_max, the mean or largest divergence of a member from the mean (kl_mean
    is `bald`)."""

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return _MEASURES[self.measure](several_draws(self.name, candidates))


def _consensus_entropy(mc_log_probs: LogProbs) -> Doubles:
    return entropy(mean_log_probs(mc_log_probs))


_MEASURES: dict[Measure, Callable[[LogProbs], Doubles]] = {
    "vote_entropy": vote_entropy,
    "consensus_entropy": _consensus_entropy,
    "kl_mean": mutual_information,
    "kl_max": largest_divergence,
}
