"""Batches drawn at random in favour of high scores, instead of the top of the list.

Adding to a logarithmic weight a standard Gumbel number of its own for each sample and taking the
largest is drawing without replacement in proportion to the weights (Vieira 2014; Kool et al. 2019,
https://arxiv.org/abs/1903.06059). A sample's number belongs to its id under a key drawn once.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import override

from strategies.base import Candidates, Doubles, Ids, Picks
from strategies.families import ScoreStrategy
from strategies.kernels.keyed import item_noise
from strategies.kernels.top import first_rows
from strategies.wrapping import Wrapper


class Stochastic(Wrapper):
    """Draws without replacement by a weight made of another strategy's scores."""

    beta: float = Field(default=1.0, gt=0)
    """How sharply high scores are favoured; large values approach the plain top of the list."""

    @model_validator(mode="after")
    def _base_has_scores(self) -> Self:
        if not isinstance(self.base, ScoreStrategy):
            raise ValueError(
                f"{self.name} draws by the score of each candidate, and {self.base.name} has none "
                "before it has chosen; take a strategy such as margin, entropy or bald"
            )
        return self

    @abstractmethod
    def log_weights(self, base: ScoreStrategy, candidates: Candidates) -> Doubles:
        """Logarithms of what candidates are drawn in proportion to: (N,), -inf for never."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        base = self.base
        assert isinstance(base, ScoreStrategy)  # _base_has_scores saw to it
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        log_weights = self.log_weights(base, candidates)
        rows = first_rows(-(log_weights + gumbel_noise(candidates.ids, key)), batch_size)
        return Picks(rows=rows, scores=log_weights[rows].clip(np.finfo(np.float64).min))


class Power(Stochastic):
    """Draws candidates in proportion to a power of another strategy's score.

    Without replacement, in proportion to ``score ** beta``; candidates of score 0 come last, by id.
    The score is ``beta log score``.

    Reference: Kirsch et al. 2023, "Stochastic batch acquisition: a simple baseline for deep active
    learning", https://arxiv.org/abs/2106.12059, section 3 (power acquisition).
    Cost: O(N) beside the scores.
    Use: in place of the top of the list where a batch would repeat itself; a cheap rival of
    `badge` and `batchbald`. For `margin` the score is 1 - margin.
    """

    name: Literal["power"] = "power"

    @override
    def log_weights(self, base: ScoreStrategy, candidates: Candidates) -> Doubles:
        with np.errstate(divide="ignore"):
            weights: Doubles = self.beta * np.log(base.utilities(candidates))
        return weights


class SoftmaxTopK(Stochastic):
    """Draws candidates in proportion to the exponential of another strategy's score.

    Without replacement, in proportion to ``exp(beta * score)``. The score is ``beta * score``.

    Reference: Kirsch et al. 2023, "Stochastic batch acquisition: a simple baseline for deep active
    learning", https://arxiv.org/abs/2106.12059, section 3 (softmax acquisition).
    Cost: O(N) beside the scores.
    Use: as `power`, where scores may be 0 and still mean something; `beta` has the unit of the
    score, so it has to be found for each.
    """

    name: Literal["softmax_topk"] = "softmax_topk"

    @override
    def log_weights(self, base: ScoreStrategy, candidates: Candidates) -> Doubles:
        return self.beta * base.utilities(candidates)


class SoftRank(Stochastic):
    """Draws candidates in proportion to a power of the inverse of their rank.

    Without replacement, in proportion to ``rank ** -beta``, the best candidate having rank 1. The
    score is ``-beta log rank``.

    Reference: Kirsch et al. 2023, "Stochastic batch acquisition: a simple baseline for deep active
    learning", https://arxiv.org/abs/2106.12059, section 3 (soft-rank acquisition).
    Cost: O(N log N) beside the scores.
    Use: as `power`, where only the order of the scores can be trusted.
    """

    name: Literal["soft_rank"] = "soft_rank"

    @override
    def log_weights(self, base: ScoreStrategy, candidates: Candidates) -> Doubles:
        # A score strategy draws nothing, so the generator only stands in.
        ranked = base.choose(candidates, len(candidates), np.random.default_rng(0)).rows
        ranks = np.empty(len(candidates))
        ranks[ranked] = np.arange(1, len(candidates) + 1)
        return -self.beta * np.log(ranks)


def gumbel_noise(ids: Ids, key: int) -> Doubles:
    """A standard Gumbel number for each id under this key: (N,) -> (N,), finite."""
    words = item_noise(ids, key) >> np.uint64(11)
    uniforms = (words.astype(np.float64) + 0.5) / 2.0**53
    noise: Doubles = -np.log(-np.log(uniforms))
    return noise
