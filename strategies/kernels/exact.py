"""Products and sums without rounding, so that nothing depends on who adds what up in which order.

A matrix product in floating point rounds in an order that BLAS chooses by the shape of its blocks,
its threads and the vector instructions it finds; equal rows then get products that differ in the
last bit, and a tie falls to noise. Here rows are brought to a length of at most one by a power of
two and rounded once, to multiples of ``2**-26``. Their products are multiples of ``2**-52``, and by
Cauchy and Schwarz no partial sum, in any order, exceeds one: every one of them is a float64, and
the result is the exact product of the rounded rows. The rounding moves a product of unit vectors
by about ``1e-8``, far less than a float32 product errs.

Sums over the pool are made exact in the same way: `on_sum_grid` rounds terms to multiples of
``2**-30``, of which float64 adds up 4 million values of size up to 2 without rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks

Points = npt.NDArray[np.floating]

_GRID = 2.0**26
_SUM_GRID = 2.0**30
_KEPT_BYTES = 2**29  # a pool whose rounded rows fit in this is rounded once, a larger one each time


@dataclass(frozen=True, eq=False)
class ExactRows:
    """A few rows, rounded: row i stands for ``values[i] * scales[i]``."""

    values: Doubles  # (n, D) multiples of 2**-26, rows no longer than 1
    scales: Doubles  # (n,) powers of two; all 1 for unit vectors
    squares: Doubles  # (n,) squared length of `values`, exact

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows | slice) -> ExactRows:
        return ExactRows(self.values[rows], self.scales[rows], self.squares[rows])

    def products(self, others: ExactRows) -> Doubles:
        """<row, other> for all pairs, exact: (n, D) x (m, D) -> (n, m)."""
        table: Doubles = self.values @ others.values.T
        table *= self.scales[:, None] * others.scales
        return table

    def squared_distances(self, others: ExactRows) -> Doubles:
        """(n, D) x (m, D) -> (n, m) >= 0; 0 between equal rows.

        Of unit vectors exact but for one rounding of the sum of three terms; of rows of unequal
        length the rounding is relative to the longer one.
        """
        table = self.products(others)
        table *= -2
        table += (self.squares * self.scales**2)[:, None] + others.squares * others.scales**2
        return np.maximum(table, 0.0, out=table)


def exact_rows(points: Points, *, unit: bool = False, mean: Doubles | None = None) -> ExactRows:
    """Rounds rows, (n, D) of any floating type; with `unit` to unit length first.

    Args:
        points: Finite rows.
        unit: Rows are divided by their length; a row of zeros stays one.
        mean: (D,) what is taken off each row before.
    """
    rows = points.astype(np.float64)
    if mean is not None:
        rows -= mean
    # Scaled by the largest entry first, since the square of a length may leave float64's range.
    largest = np.abs(rows).max(axis=1, initial=0.0)
    scales = 2.0 ** np.ceil(np.log2(np.where(largest > 0, largest, 1.0)))
    rows /= scales[:, None]
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if unit:
        rows /= np.where(lengths > 0, lengths, 1.0)[:, None]
        scales = np.ones(len(rows))
    else:
        more = 2.0 ** np.ceil(np.log2(np.where(lengths > 0, lengths, 1.0)))
        rows /= more[:, None]
        scales = scales * more
    values: Doubles = np.rint(rows * _GRID) / _GRID
    return ExactRows(values, scales, np.einsum("nd,nd->n", values, values))


@dataclass(frozen=True, eq=False)
class ExactPool:
    """The rounded rows of a pool, which may be a memory map larger than memory."""

    points: Points  # (N, D)
    unit: bool = False
    mean: Doubles | None = None
    threads: int | None = None
    _rounded: ExactRows | None = None

    @classmethod
    def of(
        cls,
        points: Points,
        *,
        unit: bool = False,
        mean: Doubles | None = None,
        threads: int | None = None,
    ) -> ExactPool:
        """A view on `points`; see `exact_rows` for `unit` and `mean`."""
        pool = cls(points, unit, mean, threads)
        if 8 * points.size > _KEPT_BYTES:
            return pool
        num, width = points.shape
        whole = ExactRows(np.empty((num, width)), np.empty(num), np.empty(num))

        def fill(rows: slice) -> None:
            part = pool.block(rows)
            whole.values[rows], whole.scales[rows] = part.values, part.scales
            whole.squares[rows] = part.squares

        map_blocks(fill, num, threads=threads)
        return replace(pool, _rounded=whole)

    def __len__(self) -> int:
        return len(self.points)

    def block(self, rows: slice) -> ExactRows:
        """The rows of one block, as `map_blocks` names it."""
        if self._rounded is not None:
            return self._rounded.take(rows)
        return exact_rows(self.points[rows], unit=self.unit, mean=self.mean)

    def at(self, rows: Rows) -> ExactRows:
        """Some rows, in this order."""
        if self._rounded is not None:
            return self._rounded.take(rows)
        return exact_rows(self.points[rows], unit=self.unit, mean=self.mean)

    def total(self) -> Doubles:
        """The sum of all rows, (D,), of unit vectors: exact up to the grid of sums."""
        sums = map_blocks(
            lambda rows: on_sum_grid(self.block(rows).values).sum(axis=0),
            len(self),
            threads=self.threads,
        )
        total: Doubles = np.sum(sums, axis=0)
        return total


def on_sum_grid(values: Doubles) -> Doubles:
    """Terms of a sum rounded to multiples of 2**-30; sums of 4 million up to 2 are then exact."""
    rounded: Doubles = np.rint(values * _SUM_GRID)
    rounded /= _SUM_GRID
    return rounded


def mean_of(points: Points, *, threads: int | None = None) -> Doubles:
    """The mean row, (D,), to float32's precision: where rows are moved to, to lose fewer digits."""
    sums = map_blocks(
        lambda rows: points[rows].sum(axis=0, dtype=np.float64), len(points), threads=threads
    )
    mean = np.sum(sums, axis=0) / max(len(points), 1)
    # Rounded, so that the last bits of a sum that the grid of blocks decides do not matter.
    rounded: Doubles = mean.astype(np.float32).astype(np.float64)
    return rounded
