"""Squared distances to a few centres: bounds from one matrix product, or exact.

``|x - c|^2 = |x|^2 + |c|^2 - 2<x, c>`` turns a table of distances into one product and loses digits
where a distance is small beside the norms. So the product only says which pairs may matter: its
rounding error has a bound, and within that bound pairs are settled by their difference.

Of a sum of D products in any order, each error is at most ``D u |x||c|`` to first order, with ``u``
half a unit in the last place (Higham 2002, "Accuracy and stability of numerical algorithms",
section 3.1). Since ``2|x||c| <= |x|^2 + |c|^2`` the error splits into a part of the row and one of
the centre, and bounds cost nothing beyond the product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from strategies.base import Doubles, Floats, Rows
from strategies.kernels.blocks import map_blocks

Points = Floats | Doubles
"""Rows in memory or mapped; float16 is allowed wherever rows are only read."""
Kind = type[np.float32] | type[np.float64]

_PAIRS_AT_ONCE = 256
_SAFETY = 16  # operations besides the D products: moving, scaling, rounding norms, adding them up
_UNDERFLOW = 2.0**-120  # of the unit ball; products below float32's range are lost altogether
_SMALLEST = 2.0**-60
_FAR_MEAN = 2.0
_CENTRES_AT_ONCE = 256


def exact_squares(left: Points, right: Points) -> Doubles:
    """Squared distances of aligned rows by their difference, in float64: (n, D) x 2 -> (n,)."""
    gaps = left.astype(np.float64) - right
    squares: Doubles = np.einsum("nd,nd->n", gaps, gaps)
    return squares


def take(points: Points, rows: Rows) -> Points:
    """`points` at `rows`, without a copy where they follow each other."""
    if (np.diff(rows) == 1).all():
        return points[int(rows[0]) : int(rows[-1]) + 1]
    return points[rows]


@dataclass(frozen=True, eq=False)
class CentredPool:
    """The pool as seen from its mean, where products lose fewest digits; without a copy of it.

    Rows in estimates are moved to the mean and multiplied by `scale`, a power of two that brings
    the pool into the unit ball, so that no finite input overflows float32.
    """

    points: Points  # (N, D), may be memory-mapped
    mean: Doubles  # (D,)
    spread: Doubles  # (N,) squared distance to the mean
    threads: int | None = None

    @classmethod
    def of(cls, points: Points, *, threads: int | None = None) -> CentredPool:
        """Measures the pool in two passes over its blocks; sums in float64, in block order."""
        num = len(points)
        sums = map_blocks(
            lambda block: points[block].sum(axis=0, dtype=np.float64), num, threads=threads
        )
        mean = np.sum(sums, axis=0) / num
        spread = map_blocks(lambda block: exact_squares(points[block], mean), num, threads=threads)
        return cls(points, mean, np.concatenate(spread), threads)

    @cached_property
    def scale(self) -> float:
        largest = max(float(np.sqrt(self.spread.max())), _SMALLEST)
        return float(2.0 ** -np.ceil(np.log2(largest)))

    @cached_property
    def _mean_square(self) -> float:
        return float(self.mean @ self.mean) * self.scale**2

    @cached_property
    def _is_far(self) -> bool:
        """Whether the mean is so long that rows have to be moved before the product."""
        return self._mean_square > _FAR_MEAN**2 * float(self.spread.mean()) * self.scale**2

    def moved(self, rows: Points) -> Doubles:
        moved: Doubles = (rows - self.mean) * self.scale
        return moved

    def upper_bounds(self, rows: Rows, centres: Points, skips: Rows) -> Doubles:
        """Bounds from above on the squared distance of `rows` to the nearest of `centres`.

        One float32 product. A bound exceeds the truth by at most about ``4 (D + 16) 2**-24`` of the
        squared norms involved.

        Args:
            rows: (n,) of the pool.
            centres: (k, D).
            skips: (n,) how many of the first centres a row may leave out, since it has met them.
        """
        slack = _slack(self.points.shape[1], np.float32)
        moved = self.moved(centres)
        squares = np.einsum("kd,kd->k", moved, moved)
        offset = 0.0 if self._is_far else moved @ (self.mean * self.scale)
        # Half of |c|^2 with its share of the error, and what moving the rows would have taken off.
        halves = ((1 + slack) * squares / 2 + offset).astype(np.float32)[:, None]
        factors = (moved if self._is_far else moved * self.scale).astype(np.float32)

        def nearest(block: slice) -> Floats:
            of_block = take(self.points, rows[block])
            of_block = self.moved(of_block) if self._is_far else of_block
            columns = of_block.astype(np.float32, copy=False).T
            most = np.full(columns.shape[1], -np.inf, np.float32)
            for start in range(int(skips[block].min()), len(factors), _CENTRES_AT_ONCE):
                some = slice(start, start + _CENTRES_AT_ONCE)
                products = factors[some] @ columns
                products -= halves[some]
                np.maximum(most, products.max(axis=0), out=most)
            return most

        blocks = map_blocks(nearest, len(rows), threads=self.threads)
        closest = np.concatenate(blocks).astype(np.float64)
        spread = self.spread[rows] * self.scale**2
        lengths = spread if self._is_far else 2 * (spread + self._mean_square)
        bounds = spread + slack * lengths - 2 * closest + _UNDERFLOW
        least: Doubles = np.maximum(bounds, 0.0) / self.scale**2
        return least

    def lower_table(self, rows: Points, centres: Points, kind: Kind) -> tuple[Points, Doubles]:
        """Bounds from below on all squared distances, and from above on each row's least one.

        Args:
            rows: (n, D).
            centres: (k, D).
            kind: Precision of the product, float32 or float64.

        Returns:
            Bounds of pairs (k, n), and of the least of each column (n,), times ``scale**2``.
        """
        slack = _slack(rows.shape[1], kind)
        left, right = self.moved(centres), self.moved(rows)
        left_squares = np.einsum("kd,kd->k", left, left)
        right_squares = np.einsum("nd,nd->n", right, right)
        table: Points = _of_kind(-2 * left, kind) @ _of_kind(right, kind).T
        table += _of_kind((1 + slack) * left_squares, kind)[:, None]
        least = table.min(axis=0) + (1 + slack) * right_squares + _UNDERFLOW
        table -= _of_kind(2 * slack * left_squares, kind)[:, None]
        table += _of_kind((1 - slack) * right_squares - _UNDERFLOW, kind)
        return table, least

    def settle(self, rows: Points, centres: Points, least: Doubles, kind: Kind) -> Doubles:
        """The exact least squared distance of each row to `centres`, or `least` if smaller: (n,).

        Equal, bit for bit, to taking all differences: pairs whose bound from below exceeds what is
        already reached cannot be the least, and the others are taken.
        """
        lower, upper = self.lower_table(rows, centres, kind)
        limits = np.minimum(least * self.scale**2, upper)
        which, of = np.nonzero((lower <= limits) & (least > 0))
        settled = least.copy()
        for start in range(0, len(of), _PAIRS_AT_ONCE):
            pairs = slice(start, start + _PAIRS_AT_ONCE)
            squares = exact_squares(rows[of[pairs]], centres[which[pairs]])
            np.minimum.at(settled, of[pairs], squares)
        return settled


def _of_kind(values: Doubles, kind: Kind) -> Points:
    return values.astype(np.float32) if kind is np.float32 else values


def _slack(width: int, kind: Kind) -> float:
    unit = float(np.finfo(kind).eps) / 2
    return 2 * (width + _SAFETY) * unit
