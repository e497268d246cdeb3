"""Disparity: batches whose samples are far from each other, by the least or by the sum."""

from __future__ import annotations

from typing import Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Rows, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.distances import Points
from strategies.kernels.exact import ExactPool, ExactRows, exact_rows, on_sum_grid
from strategies.kernels.kcentre import k_centre
from strategies.kernels.radius import UnitRows, unit_rows
from strategies.kernels.top import first_rows

_COLUMNS_AT_ONCE = 256
_FEW = 8
_NUMBERS = 2**23  # distances held at a time
_TAKEN = -np.inf


class DisparityStrategy(EmbeddingStrategy):
    """Spreads a batch out: distances are (1 - cosine) / 2 between embeddings."""

    given_labelled: bool = False
    """Whether the batch keeps away from labelled samples, too, as if they were its first picks."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        always: frozenset[Signal] = frozenset({"embeddings"})
        return always | {"labelled_embeddings"} if self.given_labelled else always

    def given(self, candidates: Candidates) -> tuple[Points, Points]:
        """The embeddings, and those of the labelled samples if they count: (N, D) and (M, D)."""
        embeddings, labelled = candidates.embeddings, candidates.labelled_embeddings
        assert embeddings is not None  # check_request saw that `needs` are given
        if not self.given_labelled or labelled is None or len(labelled) == 0:
            return embeddings, embeddings[:0]
        return embeddings, labelled


class DisparityMin(DisparityStrategy):
    """Asks for samples of which even the two nearest are far from each other.

    Greedy k-centre within the batch: each pick is the candidate whose nearest earlier pick is
    farthest away, by the angle between embeddings, and the score is that distance,
    (1 - cosine) / 2. The first pick has the largest mean distance to the pool, which is its score.

    Reference: Dasgupta, Kumar & Ravi 2013, "Summarization through submodularity and dispersion",
    ACL, for the objective; DISTIL offers it as `disparity_min`. Greedy picks reach half of the
    largest least distance (Ravi, Rosenkrantz & Tayi 1994, "Heuristic and special case algorithms
    for dispersion problems").
    Cost: B N D multiplications in some ten passes over the pool. Memory: 4 N D bytes, and some 40
    bytes a candidate.
    Use: where a batch is to show how different samples can be, outliers included. `coreset` does
    the same with distances instead of angles, and minds what is labelled.
    Differs: the objective says nothing about the first pick; public code takes the first index.
    """

    name: Literal["disparity_min"] = "disparity_min"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, labelled = self.given(candidates)
        rows = UnitRows.of(embeddings, labelled).singles
        if len(labelled):
            picks, lengths = k_centre(rows[: len(embeddings)], batch_size, rows[len(embeddings) :])
            return Picks(rows=picks, scores=lengths**2 / 4)
        first, mean_distance = _farthest_from_all(embeddings)
        picks, lengths = k_centre(rows, batch_size, rows[:0], first=first)
        scores = lengths**2 / 4  # of unit rows |u - v|^2 = 2 (1 - <u, v>)
        scores[0] = mean_distance
        return Picks(rows=picks, scores=scores)


class DisparitySum(DisparityStrategy):
    """Asks for samples that are far from each other in sum.

    Each pick is the candidate with the largest sum of distances to all earlier picks,
    (1 - cosine) / 2 each, and the score is that sum. The first pick has the largest mean distance
    to the pool, which is its score. Of two rows of zeros, or one and another row, the distance is
    0 or 1/4.

    Reference: Dasgupta, Kumar & Ravi 2013, "Summarization through submodularity and dispersion",
    ACL, for the objective; DISTIL offers it as `disparity_sum`.
    Cost: B N D multiplications in float64 and a few times more, in fewer passes over the pool than
    picks. Memory: 8 N D bytes where that is at most 512 MiB, and 128 MiB.
    Use: rarely; the sum is large for two clumps at opposite ends, and near twins are asked for.
    `disparity_min` avoids them.
    Differs: the objective says nothing about the first pick; public code takes the first index.
    """

    name: Literal["disparity_sum"] = "disparity_sum"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, labelled = self.given(candidates)
        first = None if len(labelled) else _farthest_from_all(embeddings)
        picks, sums = farthest_in_sum(embeddings, batch_size, labelled, first and first[0])
        if first is not None:
            sums[0] = first[1]
        return Picks(rows=picks, scores=sums)


def _farthest_from_all(points: Points) -> tuple[int, float]:
    """The row with the largest mean distance to all rows, the first of equals, and the distance."""
    pool = ExactPool.of(points, unit=True)
    mean = pool.total() / len(points)

    def of_block(block: slice) -> Doubles:
        rows = unit_rows(points[block])
        # Row by row, not by BLAS, so that equal rows are equally far. A row of zeros has length 0.
        products: Doubles = np.einsum("nd,d->n", rows, mean)
        return rows.any(axis=1) - 2 * products

    apart = np.concatenate(map_blocks(of_block, len(points)))
    row = int(np.argmax(apart))
    lengths = map_blocks(lambda block: int(points[block].any(axis=1).sum()), len(points))
    return row, float(apart[row] + sum(lengths) / len(points)) / 4


@one_blas_thread()
def farthest_in_sum(
    points: Points, count: int, given: Points, first: int | None, *, most_columns: int = 256
) -> tuple[Rows, Doubles]:
    """The rows that greedy maximisation of the sum of distances takes, in order, and the sums.

    Distances are exact up to the grid of sums (`kernels.exact`), and so are their sums. Rows with
    large sums are likely to be picked next: the distances of the pool to some of them are made by
    one product, and a pick among these costs one addition. Any other pick has a new product made.

    Args:
        points: (N, D).
        count: B, between 1 and N.
        given: (M, D) rows that are picked already.
        first: The row to begin with; needed where M is 0.
        most_columns: Rows whose distances are made at once; changes the time only.
    """
    search = _Search(ExactPool.of(points, unit=True), most_columns)
    for start in range(0, len(given), _COLUMNS_AT_ONCE):
        search.meet(exact_rows(given[start : start + _COLUMNS_AT_ONCE], unit=True))
    if first is not None:
        search.take(first)
    while len(search.picks) < count:
        search.take(search.farthest())
    return np.array(search.picks, np.int64), np.array(search.reached)


class _Search:
    """Where a greedy search by sums of distances stands."""

    def __init__(self, pool: ExactPool, most_columns: int) -> None:
        self.picks: list[int] = []
        self.reached: list[float] = []
        self._pool = pool
        self._sums = np.zeros(len(pool))  # to everything picked; of picks none
        self._most = max(min(most_columns, _NUMBERS // len(pool)), 1)
        self._num_columns = min(_FEW, self._most)  # made at a time
        self._made: dict[int, Doubles] = {}  # distances of the pool to rows not picked yet

    def meet(self, others: ExactRows) -> None:
        """Counts rows that are not of the pool as picked."""

        def of_block(block: slice) -> Doubles:
            sums: Doubles = _distances(self._pool.block(block), others).sum(axis=1)
            return sums

        self._sums += np.concatenate(map_blocks(of_block, len(self._pool)))

    def farthest(self) -> int:
        return int(np.argmax(self._sums))

    def take(self, row: int) -> None:
        self.reached.append(float(self._sums[row]))
        if row not in self._made:
            self._make_columns(row)
        self._sums += self._made.pop(row)
        self._sums[row] = _TAKEN
        self.picks.append(row)

    def _make_columns(self, row: int) -> None:
        """Makes the distances to `row` and to those that look like being picked soon."""
        # Those made before and never asked for were made in vain.
        if len(self._made) < self._num_columns // 2:
            self._num_columns = min(2 * self._num_columns, self._most)
        elif len(self._made) > self._num_columns * 3 // 4:
            self._num_columns = max(self._num_columns // 2, 1)
        count = min(self._num_columns, len(self._pool) - len(self.picks))
        rows = np.union1d(first_rows(-self._sums, count), row)
        columns = self._pool.at(rows)
        blocks = map_blocks(
            lambda block: _distances(columns, self._pool.block(block)), len(self._pool)
        )
        self._made = dict(zip(rows.tolist(), np.concatenate(blocks, axis=1), strict=True))


def _distances(rows: ExactRows, others: ExactRows) -> Doubles:
    """(1 - cosine) / 2 of all pairs, (n, m), on the grid of sums; 0 between equal rows."""
    table = rows.squared_distances(others)
    table *= 0.25
    return on_sum_grid(table)
