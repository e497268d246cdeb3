"""BALD: the labels that would tell most about the learner itself."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from strategies.base import Candidates, Doubles, Signal
from strategies.families import ScoreStrategy
from strategies.posterior import several_draws
from strategies.scores import mutual_information


class BALD(ScoreStrategy):
    """Asks for the samples that confident draws from the posterior disagree about.

    The score is the mutual information of the label and the draw, in nats: the entropy of the mean
    prediction less the mean entropy of the draws. Doubt that all draws share does not count, since
    no label would remove it.

    Reference: Houlsby, Huszár, Ghahramani & Lengyel 2011, "Bayesian active learning for
    classification and preference learning", https://arxiv.org/abs/1112.5745; with dropout, Gal,
    Islam & Ghahramani 2017, https://arxiv.org/abs/1703.02910.
    Cost: O(N K C) time.
    Use: with a network that has dropout, or a committee, and small batches: the best of the list
    are often the same sample over and over. For larger batches wrap it in `power`, or take
    `batchbald` for up to a few dozen.
    Differs: computed as the mean divergence of the draws from their mean, which is the same number
    and is exactly 0 where all draws are equal. A single draw is refused.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["bald"] = "bald"

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return mutual_information(several_draws(self.name, candidates))
