"""A strategy that is run in each of several random parts of the pool."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Rows
from strategies.kernels.keyed import item_noise
from strategies.wrapping import Wrapper, choose_among, generators, in_turns


class Partition(Wrapper):
    """Splits the pool at random and lets another strategy choose from each part its share.

    One 64-bit key is drawn; an id's hash under it names its part. Shares of the batch follow the
    sizes of the parts, by largest remainder. The picks of the parts take turns. With one part
    nothing is drawn, and the selection is that of the strategy inside.

    Reference: Iyer et al. 2021, DISTIL (its partition wrapper); divide and conquer as in
    Mirzasoleiman et al. 2013, "Distributed submodular maximization", section 4 (first stage only).
    Cost: that of the strategy inside at N / `parts`, `parts` times; a square becomes N^2 / parts.
    Use: to bring a strategy that is quadratic in the pool within reach, at some redundancy
    between parts.
    Differs: parts are drawn by hash, not by position as in DISTIL, where a pool sorted by class
    gives each part other classes. An approximation of the strategy inside, and recorded as one.
    """

    is_prefix: ClassVar[bool] = False
    name: Literal["partition"] = "partition"
    parts: int = Field(default=4, ge=1)
    """How many parts the pool is split into."""

    @override
    def refusal(self, batch_size: int) -> str | None:
        # What a part has to give is known when the pool is; it is at least its share.
        return self.base.refusal(batch_size // self.parts)

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        if self.parts == 1:
            return self.base.choose(candidates, batch_size, rng)
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        part_of = (item_noise(candidates.ids, key) % np.uint64(self.parts)).astype(np.int64)
        members = [np.flatnonzero(part_of == part) for part in range(self.parts)]
        sizes = np.array([len(rows) for rows in members])
        shares = quotas(batch_size, sizes.astype(np.float64), sizes)
        chosen = [
            choose_among(self.base, candidates, rows, int(share), own) if share else _NO_PICKS
            for rows, share, own in zip(members, shares, generators(rng, self.parts), strict=True)
        ]
        order = [
            int(part) for turn in range(int(shares.max())) for part in np.flatnonzero(shares > turn)
        ]
        picks = in_turns(chosen, order)
        notes = {"parts": sizes.tolist(), "shares": shares.tolist(), "approximate": True}
        return Picks(rows=picks.rows, scores=picks.scores, notes=notes, maps={"part": part_of})


def quotas(total: int, weights: Doubles, most: Rows) -> Rows:
    """Whole shares of `total` in proportion to `weights`, none above `most`: (P,) -> (P,).

    Largest remainder (Hamilton), ties to the smaller place; what a full part cannot take goes to
    the others by the same rule. `total` is at most the sum of `most`.
    """
    shares = np.zeros(len(weights), np.int64)
    while (left := total - int(shares.sum())) > 0:
        is_open = shares < most
        pull = np.where(is_open, weights, 0.0)
        pull = pull if pull.sum() > 0 else is_open.astype(np.float64)
        ideal = left * pull / pull.sum()
        gift = np.floor(ideal).astype(np.int64)
        by_remainder = np.lexsort((np.arange(len(gift)), gift - ideal))
        gift[by_remainder[: left - int(gift.sum())]] += 1
        shares = np.minimum(shares + gift, most)
    return shares


_NO_PICKS = Picks(rows=np.empty(0, np.int64), scores=np.empty(0))
