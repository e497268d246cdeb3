"""Greedy graph cut: like the pool, unlike each other.

``f(S) = Σ_i Σ_{j in S} s_ij - λ Σ_{i in S} Σ_{j in S} s_ij``. Candidate j gains
``Σ_i s_ij - λ (2 Σ_{k in S} s_jk + s_jj)``. The first sum has a formula and never changes, and the
second only grows: so gains shrink, and few have to be computed again for a pick.
"""

from __future__ import annotations

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import ExactRows, on_sum_grid
from strategies.kernels.lazy import Greedy, lazy_greedy
from strategies.kernels.similarity import Directions, Similarity

_MANY = 256


@one_blas_thread()
def cut(
    similarity: Similarity, count: int, trade_off: float, *, shared: Doubles | None = None
) -> Greedy:
    """Picks the row with the largest gain, `count` times; of equal gains the smaller row.

    Args:
        similarity: Of the pool with itself, by half cosines.
        count: B, at most N.
        trade_off: λ >= 0; above 1/2 gains may become negative, and the picks go on.
        shared: (N,) what each row has in common with samples outside the pool that count as picks
            made before, ``Σ_p s_jp``: the conditional gain of the cut beyond them.
    """
    search = _Search(similarity, count, trade_off)
    if shared is not None:
        search.start_with(on_sum_grid(shared))
    bounds = search.gains(search.all_rows)
    return lazy_greedy(
        bounds, count, search.evaluate, search.take, largest_batch=len(search.all_rows)
    )


class _Search:
    def __init__(self, similarity: Similarity, count: int, trade_off: float) -> None:
        self._similarity = similarity
        self._trade_off = trade_off
        self._sums = similarity.column_sums()
        self._own = similarity.own()
        self.all_rows = np.arange(len(similarity))
        self._shared = np.zeros(len(similarity))  # similarity to picks, added up …
        self._num_met = np.zeros(len(similarity), np.int64)  # … of the first so many
        self._num_picks = 0
        self._picked = [
            ExactRows(np.empty((count, pool.points.shape[1])), np.ones(count), np.empty(count))
            for pool in similarity.factors
        ]

    def start_with(self, shared: Doubles) -> None:
        self._shared += shared

    def gains(self, rows: Rows) -> Doubles:
        shared = 2 * self._shared[rows] + self._own[rows]
        gains: Doubles = self._sums[rows] - self._trade_off * shared
        return gains

    def evaluate(self, rows: Rows) -> Doubles:
        """Gains of some rows; once many are asked for, all are brought up to date in one go."""
        if len(rows) < _MANY:
            self._meet(rows, self._similarity.at(rows))
        elif self._num_met.min() < self._num_picks:
            map_blocks(
                lambda block: self._meet(self.all_rows[block], self._similarity.block(block)),
                len(self.all_rows),
                threads=self._similarity.threads,
            )
        return self.gains(rows)

    def _meet(self, rows: Rows, directions: Directions) -> None:
        first = int(self._num_met[rows].min())
        picked = Directions(
            tuple(factor.take(slice(first, self._num_picks)) for factor in self._picked)
        )
        table = self._similarity.table(directions, picked)
        table[np.arange(first, self._num_picks) < self._num_met[rows, None]] = 0
        self._shared[rows] += table.sum(axis=1)
        self._num_met[rows] = self._num_picks

    def take(self, row: int) -> None:
        for picked, factor in zip(
            self._picked, self._similarity.at(np.array([row])).factors, strict=True
        ):
            picked.values[self._num_picks] = factor.values[0]
            picked.squares[self._num_picks] = factor.squares[0]
        self._num_picks += 1
