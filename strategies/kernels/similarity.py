"""Similarities between rows of a pool, made a few columns at a time and never all at once.

``s_ij`` depends on the angle between two directions, either of embeddings or of last-layer
gradients, whose cosine is the product of two: ``cos(a⊗h, b⊗k) = cos(a, b) cos(h, k)``. Cosines are
exact (`kernels.exact`) and entries are rounded to the grid of sums, so that an entry is the same
number whichever block, thread or neighbour it is made with, equal rows have equal entries, and sums
over the pool do not depend on their order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks
from strategies.kernels.exact import ExactPool, ExactRows, Points, exact_rows, on_sum_grid
from strategies.scores import LogProbs, log_doubt

Shape = Callable[[Doubles, Doubles, Doubles], Doubles]
"""Turns cosines into similarities in [0, 1], in place and entry by entry. Told the squared lengths
of the rows and of the columns, (n, 1) and (k,) for cosines (n, k): about 1, or 0 for a row without
a direction."""

SUM_ROWS = 1024
"""Rows added up at a time in the sum of all directions. Not `blocks.BLOCK_ROWS`: its last bits
depend on this number, and no pick may depend on the grid of blocks."""

SUM_UNITS = 2.0**30
"""Of the grid of sums: a similarity is a whole number of them, from 0 to this."""

_COLUMNS_AT_ONCE = 256
_TILE = 512


@dataclass(frozen=True, eq=False)
class Directions:
    """A few unit rows, as the factors whose cosines multiply; a row of zeros has no direction."""

    factors: tuple[ExactRows, ...]

    def __len__(self) -> int:
        return len(self.factors[0])

    @property
    def squares(self) -> Doubles:
        """Squared lengths, (n,): about 1, or 0."""
        return functools.reduce(np.multiply, (factor.squares for factor in self.factors))

    def take(self, rows: Rows | slice) -> Directions:
        return Directions(tuple(factor.take(rows) for factor in self.factors))

    def cosines(self, others: Directions) -> Doubles:
        """(n,) directions to (k,) `others` -> (n, k)."""
        pairs = zip(self.factors, others.factors, strict=True)
        # Rows of unit length carry no scales. With several factors each product is exact, and
        # multiplying them rounds entry by entry.
        return functools.reduce(
            np.multiply, (mine.values @ theirs.values.T for mine, theirs in pairs)
        )


@dataclass(frozen=True, eq=False)
class Similarity:
    """Similarities between any directions and the rows of a pool.

    Make one by `of_embeddings` or `of_gradients`. Columns belong to `Directions`: rows of the pool
    (`at`) or others (`outside`), such as labelled samples.
    """

    factors: tuple[ExactPool, ...]
    shape: Shape
    threads: int | None = None

    @classmethod
    def of_embeddings(
        cls, embeddings: Points, *, shape: Shape | None = None, threads: int | None = None
    ) -> Similarity:
        """Of the directions of embeddings, (N, D)."""
        pool = ExactPool.of(embeddings, unit=True, threads=threads)
        return cls((pool,), shape or half_cosine, threads)

    @classmethod
    def of_gradients(
        cls,
        log_probs: LogProbs,
        embeddings: Points,
        *,
        shape: Shape | None = None,
        threads: int | None = None,
    ) -> Similarity:
        """Of the last-layer gradients of the cross-entropy to the likeliest class, without bias."""
        points = (residual_directions(log_probs), embeddings)
        pools = tuple(ExactPool.of(part, unit=True, threads=threads) for part in points)
        return cls(pools, shape or half_cosine, threads)

    def __len__(self) -> int:
        return len(self.factors[0])

    def at(self, rows: Rows) -> Directions:
        """Some rows of the pool, in this order."""
        return Directions(tuple(pool.at(rows) for pool in self.factors))

    def block(self, rows: slice) -> Directions:
        """The rows of one block, as `map_blocks` names it."""
        return Directions(tuple(pool.block(rows) for pool in self.factors))

    def outside(self, embeddings: Points, log_probs: LogProbs | None = None) -> Directions:
        """Rows that are not of the pool, (n, D), as directions; of gradients with `log_probs`."""
        points = (
            (embeddings,) if log_probs is None else (residual_directions(log_probs), embeddings)
        )
        return Directions(tuple(exact_rows(np.asarray(part), unit=True) for part in points))

    def table(self, rows: Directions, columns: Directions) -> Doubles:
        """All pairs, (n,) x (k,) -> (n, k), on the grid of sums; what everything else is made of.

        To be called under `one_blas_thread`, or from `map_blocks`.
        """
        return on_sum_grid(
            self.shape(rows.cosines(columns), rows.squares[:, None], columns.squares)
        )

    def columns(self, columns: Directions) -> Doubles:
        """Similarities of all N to the given directions: (N, k), for few of them."""
        return self.rowwise(columns, lambda table, _: table, (len(columns),))

    def rowwise(
        self,
        columns: Directions,
        work: Callable[[Doubles, slice], Doubles],
        shape: tuple[int, ...] = (),
    ) -> Doubles:
        """Answers of `work` for each block, joined: (N, *shape).

        Args:
            columns: k directions.
            work: Turns a block's table (n, k), which it may overwrite, and its slice of rows into
                one answer a row, (n, *shape).
            shape: Of one answer; a single number by default.
        """
        blocks = map_blocks(
            lambda rows: work(self.table(self.block(rows), columns), rows),
            len(self),
            threads=self.threads,
        )
        return np.concatenate(blocks) if blocks else np.empty((0, *shape))

    def reduce(self, columns: Directions, work: Callable[[Doubles, slice], Doubles]) -> Doubles:
        """The sum over blocks of what `work` answers for each: one number a column, (k,).

        The sum over rows is up to `work`, which is told a block's table (n, k), which it may
        overwrite, and its slice of rows. Sums of up to 4 million entries on the grid are exact.
        """
        blocks = map_blocks(
            lambda rows: work(self.table(self.block(rows), columns), rows),
            len(self),
            threads=self.threads,
        )
        total: Doubles = np.sum(blocks, axis=0) if blocks else np.zeros(len(columns))
        return total

    def own(self) -> Doubles:
        """The similarity of each row to itself, (N,); 1 for rows that have a direction."""

        def of_block(rows: slice) -> Doubles:
            squares = self.block(rows).squares
            return on_sum_grid(self.shape(squares.copy(), squares, squares))

        blocks = map_blocks(of_block, len(self), threads=self.threads)
        return np.concatenate(blocks) if blocks else np.empty(0)

    def column_sums(self) -> Doubles:
        """``Σ_i s_ij`` for each row j, (N,), of half cosines: from the sum of all directions.

        O(N D) and not N². Each is within `column_sums_error` of the sum of entries; equal rows have
        equal sums.
        """
        matrix = self._total()
        high = exact_rows(matrix)
        low = exact_rows(matrix - high.values * high.scales[:, None])

        def of_block(rows: slice) -> Doubles:
            *weights, points = self.block(rows).factors
            table = points.products(high)
            table += points.products(low)
            if weights:
                table *= weights[0].values
            sums = np.full(len(points), float(len(self)))
            for of_class in table.T:
                sums += of_class
            return on_sum_grid(sums / 2)

        blocks = map_blocks(of_block, len(self), threads=self.threads)
        return np.concatenate(blocks) if blocks else np.empty(0)

    @property
    def column_sums_error(self) -> float:
        """Entries are off by their rounding to the grid, and where cosines left [-1, 1]."""
        width = math.prod(pool.points.shape[1] for pool in self.factors)
        return len(self) * (1 + math.sqrt(width)) * 2.0**-26

    def sums_of_entries(self) -> Doubles:
        """``Σ_i s_ij`` for each row j, (N,), exactly and of any shape: a pass over all pairs.

        Each pair is computed once, in tiles.
        """
        num = len(self)

        def of_tiles(rows: slice) -> Doubles:
            mine = self.block(rows)
            sums = np.zeros(num - rows.start)  # of the rows from here on
            for start in range(rows.start, num, _TILE):
                table = self.table(mine, self.block(slice(start, min(start + _TILE, num))))
                sums[: len(table)] += table.sum(axis=1)
                if start > rows.start:
                    offset = start - rows.start
                    sums[offset : offset + table.shape[1]] += table.sum(axis=0)
            return sums

        total = np.zeros(num)
        for part in map_blocks(of_tiles, num, threads=self.threads, block_rows=_TILE):
            total[num - len(part) :] += part
        return total

    def _total(self) -> Doubles:
        """The sum of all rows: (1, D), or of outer products of two factors, (C, D)."""

        def of_rows(rows: slice) -> Doubles:
            *weights, points = self.block(rows).factors
            left = weights[0].values if weights else np.ones((len(points), 1))
            sums: Doubles = left.T @ points.values
            return sums

        total: Doubles = np.sum(
            map_blocks(of_rows, len(self), threads=self.threads, block_rows=SUM_ROWS), axis=0
        )
        return total

    def nearest(self, columns: Directions) -> Doubles:
        """The largest similarity of each row to any of the directions, (N,); 0 without any."""
        most = np.zeros(len(self))
        for start in range(0, len(columns), _COLUMNS_AT_ONCE):
            some = columns.take(slice(start, start + _COLUMNS_AT_ONCE))
            np.maximum(most, self.rowwise(some, lambda table, _: table.max(axis=1)), out=most)
        return most


def half_cosine(cosines: Doubles, _rows: Doubles, _columns: Doubles) -> Doubles:
    """(cos + 1) / 2 in [0, 1]; 1/2 where a row has no direction."""
    cosines += 1.0
    cosines *= 0.5
    np.maximum(cosines, 0.0, out=cosines)
    return np.minimum(cosines, 1.0, out=cosines)  # rounded rows may be longer than 1 by 1e-8


def gaussian(width: float) -> Shape:
    """exp(-d^2 / width^2) of the distance between unit rows, in [0, 1]; 1 between equal rows."""

    def shape(cosines: Doubles, row_squares: Doubles, column_squares: Doubles) -> Doubles:
        # Twice a product of equal rows is the sum of their squares without rounding: d = 0.
        cosines *= 2.0
        cosines -= row_squares + column_squares
        np.minimum(cosines, 0.0, out=cosines)
        cosines /= width**2
        return np.exp(cosines, out=cosines)

    return shape


def residual_directions(log_probs: LogProbs) -> Doubles:
    """The direction of p - e, where e is the one-hot of the likeliest class: (N, C) -> (N, C).

    Divided by 1 - max p, so that the residuals of a saturated softmax keep theirs; a row that rules
    all other classes out has none and is zero.
    """
    doubts = log_doubt(log_probs)

    def of_block(rows: slice) -> Doubles:
        block, doubt = np.asarray(log_probs[rows], np.float64), doubts[rows]
        has_doubt = doubt > -np.inf
        residuals = np.exp(np.minimum(block - np.where(has_doubt, doubt, 0.0)[:, None], 0.0))
        residuals[np.arange(len(block)), block.argmax(axis=1)] = -1.0
        residuals *= has_doubt[:, None]
        return residuals

    blocks = map_blocks(of_block, len(log_probs))
    return np.concatenate(blocks) if blocks else np.empty(log_probs.shape, np.float64)
