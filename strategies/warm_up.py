"""One strategy for the first rounds, another one after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import PositiveInt
from typing_extensions import override

from strategies.base import Candidates, Computation, Picks, QueryStrategy, Signal
from strategies.random_sampling import RandomSampling
from strategies.uncertainty import MarginSampling

if TYPE_CHECKING:
    from strategies import AnyStrategy


class WarmUp(QueryStrategy):
    """Selects with one strategy in the first rounds and with another one from then on.

    `rounds` batches are chosen by `first`, all later ones by `then`; nothing of the strategy that
    does not select is computed. Called by itself, outside a run, it selects as in round 0.

    Reference: Hacohen, Dekel & Weinshall 2022, "Active learning on a budget: opposite strategies
    suit high and low budgets", https://arxiv.org/abs/2202.02794, section 5 (when to switch).
    Cost: that of the strategy at work.
    Use: a typical or covering strategy while labels are few, an uncertain one once there are some
    dozen labels a class.
    Differs: the round of the switch is declared, not learned.
    """

    name: Literal["warm_up"] = "warm_up"
    first: AnyStrategy = RandomSampling()
    """Chooses the batches of the first rounds."""
    then: AnyStrategy = MarginSampling()
    """Chooses all later ones."""
    rounds: PositiveInt = 1
    """How many batches `first` chooses, after the seed set."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        return self.first.needs

    @property
    @override
    def is_prefix(self) -> bool:
        return self.first.is_prefix

    @property
    @override
    def min_labelled(self) -> int:
        return self.first.min_labelled

    @property
    @override
    def computation(self) -> Computation:
        return self.first.computation

    @override
    def at_round(self, number: int) -> QueryStrategy:
        inside = self.first if number < self.rounds else self.then
        return inside.at_round(number)

    @override
    def named(self, class_names: Sequence[str]) -> QueryStrategy:
        inside = {"first": self.first.named(class_names), "then": self.then.named(class_names)}
        return self.model_copy(update=inside)

    @override
    def refusal(self, batch_size: int) -> str | None:
        return self.first.refusal(batch_size)

    @override
    def group_size(self, batch_size: int) -> int:
        return self.first.group_size(batch_size)

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        return self.first.choose(candidates, batch_size, rng)
