"""Facility location over the similarities of gradients, as a part of a larger objective.

``F(S) = Σ_i max_{s in S} exp(-|g_i - g_s|² / 2)`` over the whole pool. What a pick adds to F only
shrinks as S grows, so a gain computed earlier is a bound; the other part of the objective may go up
and down, since it is given anew for every pick. Similarities are rounded to the grid of sums, so
gains are exact, bounds hold to the last bit, and the answer is that of computing every gain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks
from strategies.kernels.exact import on_sum_grid
from strategies.kernels.factored import FactoredPool

Flags = npt.NDArray[np.bool_]

_TILE = 512  # rows and columns of a tile of similarities: few enough to stay in cache
_FEWEST, _MOST = 16, 256  # columns refreshed at a time


@dataclass(eq=False)
class GradientCover:
    """Adds ``weight`` times what a pick adds to F. Memory O(N); the first pick costs N² / 2."""

    pool: FactoredPool
    weight: float
    refreshed: int = 0
    """Gains computed beyond the first of each candidate."""
    _covered: Doubles = field(init=False)  # (N,) the largest similarity to a pick
    _bounds: Doubles = field(init=False)  # (N,) gains, as they were when last computed
    _is_settled: Flags = field(init=False)  # (N,) whether the bound is the gain itself

    def __post_init__(self) -> None:
        self._covered = np.zeros(len(self.pool))
        self._bounds = first_gains(self.pool)
        self._is_settled = np.ones(len(self.pool), np.bool_)

    def best(self, gains: Doubles, taken: Rows) -> tuple[int, float]:
        values = gains + self.weight * self._bounds
        values[taken] = -np.inf
        batch = _FEWEST
        while True:
            row = int(values.argmax())
            if self._is_settled[row] or self.weight == 0:
                return row, float(values[row])
            rows = _largest(np.where(self._is_settled, -np.inf, values), batch)
            self._refresh(rows)
            values[rows] = gains[rows] + self.weight * self._bounds[rows]
            batch = min(2 * batch, _MOST)

    def add(self, row: int) -> None:
        near = on_sum_grid(self.pool.similarities(self.pool.at(np.array([row])))[0])
        np.maximum(self._covered, near, out=self._covered)
        self._is_settled = self._bounds == 0  # a gain of 0 stays 0

    def _refresh(self, rows: Rows) -> None:
        few = self.pool.at(rows)

        def of_block(block: slice) -> Doubles:
            table = on_sum_grid(few.similarities(self.pool.block(block)))
            table -= self._covered[block]
            sums: Doubles = np.maximum(table, 0.0, out=table).sum(axis=1)
            return sums

        self._bounds[rows] = np.sum(map_blocks(of_block, len(self.pool)), axis=0)
        self._is_settled[rows] = True
        self.refreshed += len(rows)


def first_gains(pool: FactoredPool) -> Doubles:
    """What each candidate alone covers, ``Σ_j exp(-|g_i - g_j|² / 2)``: (N,), exact.

    Each pair is computed once, in tiles.
    """
    num = len(pool)

    def of_tiles(rows: slice) -> Doubles:
        mine = pool.block(rows)
        sums = np.zeros(num - rows.start)  # of the rows from here on
        for start in range(rows.start, num, _TILE):
            columns = slice(start, min(start + _TILE, num))
            tile = on_sum_grid(mine.similarities(pool.block(columns)))
            sums[: len(mine)] += tile.sum(axis=1)
            if start > rows.start:
                sums[columns.start - rows.start : columns.stop - rows.start] += tile.sum(axis=0)
        return sums

    total = np.zeros(num)
    for part in map_blocks(of_tiles, num, block_rows=_TILE):
        total[num - len(part) :] += part
    return total


def _largest(values: Doubles, count: int) -> Rows:
    """Rows of the `count` largest values above -inf, the first largest among them."""
    rows = np.argpartition(-values, min(count, len(values)) - 1)[:count]
    rows = np.union1d(rows, [values.argmax()])
    return rows[values[rows] > -np.inf]
