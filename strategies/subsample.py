"""A strategy that looks at a random part of a large pool."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks
from strategies.kernels.keyed import item_noise
from strategies.kernels.top import first_rows
from strategies.wrapping import Wrapper, choose_among


class Subsample(Wrapper):
    """Shows another strategy a random part of the pool, so that a costly one can be afforded.

    One 64-bit key is drawn from the round's generator; each id hashes to a number under it, and the
    `size` candidates with the smallest numbers are shown. At least B are. Where all are shown,
    nothing is drawn, and the selection is that of the strategy inside.

    Reference: the usual remedy for large pools; Coleman et al. 2020, "Selection via proxy",
    https://arxiv.org/abs/1906.11829, discusses what it costs.
    Cost: O(N) and that of the strategy inside at N = `size`.
    Use: where the strategy inside is quadratic in the pool or slower (`bait`, `batchbald`).
    Differs: an approximation of the strategy inside, and recorded as one.
    """

    name: Literal["subsample"] = "subsample"
    size: int = Field(default=10_000, ge=1)
    """How many candidates are shown."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        size = max(self.size, batch_size)
        if size >= len(candidates):
            return self.base.choose(candidates, batch_size, rng)
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        rows = np.sort(first_rows(item_noise(candidates.ids, key), size))
        picks = choose_among(self.base, candidates, rows, batch_size, rng)
        notes = {**picks.notes, "shown": size, "approximate": True}
        return Picks(rows=picks.rows, scores=picks.scores, notes=notes, maps=picks.maps)
