"""Several strategies that take turns within a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import override

from strategies.base import Candidates, Computation, Picks, QueryStrategy, Signal
from strategies.random_sampling import RandomSampling
from strategies.uncertainty import MarginSampling
from strategies.wrapping import generators

if TYPE_CHECKING:
    from strategies import AnyStrategy


class Mixture(QueryStrategy):
    """Fills the batch from several strategies in turn, each giving its best sample not yet taken.

    Each strategy ranks the whole pool by itself, with a generator of its own. The score is the one
    the sample has from the strategy that gave it.

    Reference: the common round-robin mixture; with random sampling inside it is the
    epsilon-greedy of Citovsky et al. 2021 and others.
    Cost: the sum of the strategies'.
    Use: to add some exploration to a strategy that may be misled, for example margin and random.
    """

    name: Literal["mix"] = "mix"
    bases: Annotated[tuple[AnyStrategy, ...], Field(min_length=1)] = (
        MarginSampling(),
        RandomSampling(),
    )
    """The strategies, in the order of their turns."""

    @model_validator(mode="after")
    def _one_computation(self) -> Self:
        _ = self.computation
        return self

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        return frozenset().union(*(base.needs for base in self.bases))

    @property
    @override
    def is_prefix(self) -> bool:
        return all(base.is_prefix for base in self.bases)

    @property
    @override
    def min_labelled(self) -> int:
        return max(base.min_labelled for base in self.bases)

    @property
    @override
    def computation(self) -> Computation:
        sources = {base.computation.embeddings for base in self.bases if _reads(base, "embeddings")}
        attacks = {base.computation.flips for base in self.bases} - {None}
        if len(sources) > 1 or len(attacks) > 1:
            raise ValueError(
                "the strategies of a mixture read two kinds of the same signal (embedding, or the "
                "attack behind flip_distances); give them all the same one"
            )
        return Computation(
            embeddings=next(iter(sources), "learner"), flips=next(iter(attacks), None)
        )

    @override
    def at_round(self, number: int) -> QueryStrategy:
        inside = tuple(base.at_round(number) for base in self.bases)
        return self.model_copy(update={"bases": inside})

    @override
    def refusal(self, batch_size: int) -> str | None:
        refusals = (base.refusal(batch_size) for base in self.bases)
        return next((reason for reason in refusals if reason is not None), None)

    @override
    def named(self, class_names: Sequence[str]) -> QueryStrategy:
        inside = tuple(base.named(class_names) for base in self.bases)
        return self.model_copy(update={"bases": inside})

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        rankings = [
            base.choose(candidates, batch_size, own)
            for base, own in zip(self.bases, generators(rng, len(self.bases)), strict=True)
        ]
        # Fewer than B rows are taken at any turn, so each ranking of B still has one that is free.
        waiting = [zip(r.rows.tolist(), r.scores.tolist(), strict=True) for r in rankings]
        taken: dict[int, float] = {}
        while len(taken) < batch_size:
            turn = waiting[len(taken) % len(waiting)]
            row, score = next(pair for pair in turn if pair[0] not in taken)
            taken[row] = score
        return Picks(rows=np.array([*taken], np.int64), scores=np.array([*taken.values()]))


def _reads(base: QueryStrategy, what: str) -> bool:
    return any(need.endswith(what) for need in base.needs)
