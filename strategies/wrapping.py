"""What strategies around another strategy share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from strategies.base import (
    Candidates,
    Computation,
    Numbers,
    Picks,
    QueryStrategy,
    Rows,
    Signal,
)
from strategies.uncertainty import MarginSampling

if TYPE_CHECKING:
    from strategies import AnyStrategy


class Wrapper(QueryStrategy):
    """A strategy around one other, which reads what that one reads."""

    base: AnyStrategy = MarginSampling()
    """The strategy inside."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        return self.base.needs

    @property
    @override
    def is_prefix(self) -> bool:
        return self.base.is_prefix

    @property
    @override
    def min_labelled(self) -> int:
        return self.base.min_labelled

    @property
    @override
    def computation(self) -> Computation:
        return self.base.computation

    @override
    def at_round(self, number: int) -> QueryStrategy:
        return self._around(self.base.at_round(number))

    @override
    def named(self, class_names: Sequence[str]) -> QueryStrategy:
        return self._around(self.base.named(class_names))

    def _around(self, inside: QueryStrategy) -> QueryStrategy:
        return self if inside is self.base else self.model_copy(update={"base": inside})

    @override
    def refusal(self, batch_size: int) -> str | None:
        return self.base.refusal(batch_size)

    @override
    def group_size(self, batch_size: int) -> int:
        return self.base.group_size(batch_size)


def choose_among(
    base: QueryStrategy,
    candidates: Candidates,
    rows: Rows,
    batch_size: int,
    rng: np.random.Generator,
) -> Picks:
    """What `base` picks when it is shown the candidates at `rows`, ascending, alone.

    Maps are spread over all candidates (-1, or NaN, where they say nothing); nothing is kept.
    """
    picks = base.choose(replace(candidates, kept=None).take(rows), batch_size, rng)
    maps = {name: _spread(values, rows, len(candidates)) for name, values in picks.maps.items()}
    return Picks(rows=rows[picks.rows], scores=picks.scores, notes=picks.notes, maps=maps)


def generators(rng: np.random.Generator, count: int) -> list[np.random.Generator]:
    """A generator of its own for each of `count` parts of a selection; `rng` itself for one.

    Draws one 64-bit key each, so that what one part draws does not move the others.
    """
    if count == 1:
        return [rng]
    keys = rng.integers(0, 2**64, size=count, dtype=np.uint64)
    return [np.random.Generator(np.random.Philox(key=int(key))) for key in keys]


def in_turns(parts: Sequence[Picks], order: Sequence[int]) -> Picks:
    """The picks of several parts in one order: ``order[b]`` is the part that gives pick b."""
    places = [0] * len(parts)
    rows: list[int] = []
    scores: list[float] = []
    for part in order:
        rows.append(int(parts[part].rows[places[part]]))
        scores.append(float(parts[part].scores[places[part]]))
        places[part] += 1
    return Picks(rows=np.array(rows, np.int64), scores=np.array(scores, np.float64))


def _spread(values: Numbers, rows: Rows, num: int) -> Numbers:
    nothing: Any = np.nan if values.dtype.kind == "f" else -1
    whole = np.full((num, *values.shape[1:]), nothing, values.dtype)
    whole[rows] = values
    return whole
