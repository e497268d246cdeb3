"""Greedy log-determinants of a similarity matrix that is never written down.

With unit directions u, similarities are ``(cos + 1) / 2``, so the matrix is ``Φ Φᵀ / 2`` of rows
``φ = (u, 1)``. Everything here is about ``Φ Φᵀ + 2λI``, twice the matrix with a ridge λ.

A determinant is the product of squared heights: with S taken, the height of row i has the square
``d_i² = |φ_i|² + 2λ - Σ_t <φ_i, q_t>²``, where the ``q_t`` are the rows of ``L⁻¹ Φ_S`` for the
Cholesky factor L of the matrix of S. They follow one from the other: for the next pick j,
``q = (φ_j - Σ_t <φ_j, q_t> q_t) / d_j``. This is the incremental Cholesky of Chen, Zhang & Zhou
2018 ("Fast greedy MAP inference for determinantal point process"), but where they keep a number for
every row and pick, these B directions are kept: B * F numbers instead of N * B, where F is the
length of φ.

To know samples beforehand, those of a private set, is to begin with their directions.

Directions are rounded to a grid and split in two parts of few digits, whose products with the exact
rows of a pool (`kernels.exact`) do not round; so heights do not depend on blocks or threads, and
equal rows keep equal heights.
"""

from __future__ import annotations

import numpy as np

from strategies.base import Doubles, Numbers, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.lazy import Greedy, lazy_greedy
from strategies.kernels.similarity import Directions, Similarity

_HIGH = 2.0**26
_NUMBERS_AT_ONCE = 2**21
_ROWS_AT_ONCE = 512


@one_blas_thread()
def log_det_greedy(
    similarity: Similarity, count: int, *, ridge: float, known: Doubles | None = None
) -> Greedy:
    """Picks, again and again, the row that makes the determinant largest; ties by row.

    O(N F) a pick at most; heights only fall, so rows that cannot be next are left alone. Extra
    memory: B * F numbers.

    Args:
        similarity: To the rows of the pool, by ``(cos + 1) / 2``.
        count: B.
        ridge: λ > 0, added to the diagonal.
        known: (r, F) directions to begin with, from `directions_of`.

    Returns:
        The gain of each pick is what it adds to ``log det (K + λI)``.
    """
    heights = Heights(similarity, count, ridge=ridge, known=known)
    greedy = lazy_greedy(heights.squares, count, heights.at, heights.take)
    return Greedy(greedy.rows, np.log(greedy.gains / 2), greedy.num_evaluated)


@one_blas_thread()
def log_det_ratio_greedy(
    similarity: Similarity,
    count: int,
    *,
    ridge: float,
    known: Doubles | None = None,
    asked: Doubles,
) -> Greedy:
    """Picks, again and again, the row that tells most about what is asked; ties by row.

    That is ``log det`` given what is known, less the same given also what is asked. Not submodular,
    so each pick looks at all rows: O(N F). Extra memory: 2 * B * F numbers.

    Args:
        similarity: To the rows of the pool, by ``(cos + 1) / 2``.
        count: B.
        ridge: λ > 0, added to the diagonal.
        known: (r, F) directions to begin with.
        asked: (q, F) more directions, of what is asked given what is known.
    """
    before = Heights(similarity, count, ridge=ridge, known=known)
    both = asked if known is None else np.concatenate((known, asked))
    after = Heights(similarity, count, ridge=ridge, known=both)
    is_free = np.ones(len(similarity), np.bool_)
    rows, gains = np.empty(count, np.int64), np.empty(count)
    for pick in range(count):
        # Ratios order as their logarithms do, and are rounded alike everywhere.
        ratios = np.where(is_free, before.squares / after.squares, -np.inf)
        best = int(np.argmax(ratios))
        rows[pick], gains[pick] = best, np.log(ratios[best])
        is_free[best] = False
        before.take(best)
        after.take(best)
        drops = _squared_products(similarity, np.stack((before.newest, after.newest)))
        before.lower(drops[:, 0])
        after.lower(drops[:, 1])
    return Greedy(rows, gains, count * len(similarity))


class Heights:
    """Squared heights of all rows over those taken, and over what was known before."""

    def __init__(
        self, similarity: Similarity, count: int, *, ridge: float, known: Doubles | None = None
    ) -> None:
        width = features(similarity.at(np.zeros(1, np.int64))).shape[1]
        known = np.empty((0, width)) if known is None else on_direction_grid(known)
        self._similarity = similarity
        self._least = 2 * ridge  # no row of a matrix with this ridge is lower
        self._directions = np.empty((len(known) + count, width))
        self._directions[: len(known)] = known
        self._num = len(known)
        self._met = np.full(len(similarity), self._num)
        squares = map_blocks(
            lambda rows: similarity.block(rows).squares, len(similarity), threads=similarity.threads
        )
        self.squares = np.concatenate(squares) + (1.0 + self._least)
        for start in range(0, len(known), _ROWS_AT_ONCE):
            drops = _squared_products(similarity, known[start : start + _ROWS_AT_ONCE])
            self.lower(drops.sum(axis=1))

    @property
    def newest(self) -> Doubles:
        """The direction of the last row taken, (F,)."""
        newest: Doubles = self._directions[self._num - 1]
        return newest

    def take(self, row: int) -> None:
        """Takes a row, whose height is up to date."""
        feature = features(self._similarity.at(np.array([row])))[0]
        earlier = self._directions[: self._num]
        rest = feature - (earlier @ feature) @ earlier
        self._directions[self._num] = on_direction_grid(rest / np.sqrt(self.squares[row]))
        self._num += 1

    def lower(self, drops: Doubles) -> None:
        """Lowers all squared heights by (N,) drops."""
        self.squares -= drops
        np.maximum(self.squares, self._least, out=self.squares)

    def at(self, rows: Rows) -> Doubles:
        """Brings a few rows up to date, however many picks they have missed: (n,)."""
        first = int(self._met[rows].min())
        missed = np.arange(first, self._num)
        drops = _products(self._similarity.at(rows), self._directions[first : self._num]) ** 2
        drops[missed < self._met[rows, None]] = 0.0
        # One after the other, so that it does not matter how many are made up for at a time.
        squares: Doubles = np.subtract.reduce(np.vstack((self.squares[rows], drops.T)), axis=0)
        np.maximum(squares, self._least, out=squares)
        self.squares[rows] = squares
        self._met[rows] = self._num
        return squares


@one_blas_thread()
def directions_of(points: Directions, *, ridge: float, known: Doubles | None = None) -> Doubles:
    """The directions of samples given what is known: (k, F), with k at most F.

    Of rows ``W = Φ - Φ Rᵀ R``, where R are the known directions, these are ``L⁻¹ W`` for the
    Cholesky factor L of ``W Φᵀ + 2λI``. More than F are replaced by F with the same products.

    Args:
        points: The samples, any number.
        ridge: λ.
        known: (r, F) directions of what is known already, by `directions_of`.
    """
    made: list[Doubles] = []
    for start in range(0, len(points), _ROWS_AT_ONCE):
        rows = features(points.take(slice(start, start + _ROWS_AT_ONCE)))
        rest = rows.copy()
        for earlier in made if known is None else [known, *made]:
            rest -= (rows @ earlier.T) @ earlier
        table = rest @ rows.T
        table = (table + table.T) / 2
        table[np.diag_indices(len(table))] += 2 * ridge
        made.append(_solved(np.linalg.cholesky(table), rest))
        made = _shortened(made)
    width = features(points.take(slice(0, 0))).shape[1]
    return np.concatenate([np.empty((0, width)), *made])


def _solved(factor: Numbers, rows: Doubles) -> Doubles:
    """``L⁻¹ W``."""
    from scipy.linalg import solve_triangular  # a tenth of a second, only where it is used

    with one_blas_thread():  # scipy's own too, which may have come only now
        solution: Doubles = solve_triangular(factor, rows, lower=True)
    return solution


def features(points: Directions) -> Doubles:
    """The rows φ, such that similarities are ``<φ, φ'> / 2``: (n, F)."""
    *lead, last = (factor.values for factor in points.factors)
    rows = last
    for factor in lead:
        # Products of two numbers of 26 digits: exact.
        width = factor.shape[1] * rows.shape[1]
        rows = (factor[:, :, None] * rows[:, None, :]).reshape(len(rows), width)
    return np.concatenate((rows, np.ones((len(rows), 1))), axis=1)


def on_direction_grid(directions: Doubles) -> Doubles:
    """Rounded to so few digits that products with exact rows round only once.

    What the high part leaves is below 2**-27 an entry, so partial sums of its products with a unit
    row are below ``2**-27 sqrt(F)``, and multiples of 2**-26 times the grid: 53 digits or fewer.
    """
    grid = 2.0 ** (54 - np.ceil(np.log2(directions.shape[-1]) / 2))
    rounded: Doubles = np.rint(directions * grid) / grid
    return rounded


def _shortened(made: list[Doubles]) -> list[Doubles]:
    width = made[0].shape[1]
    if sum(map(len, made)) <= width:
        return made
    shorter: Doubles = np.asarray(np.linalg.qr(np.concatenate(made), mode="r"))[:width]
    return [shorter]


def _squared_products(similarity: Similarity, directions: Doubles) -> Doubles:
    """<φ_i, q>² for all rows and a few directions: (N, k)."""
    blocks = map_blocks(
        lambda rows: _products(similarity.block(rows), directions) ** 2,
        len(similarity),
        threads=similarity.threads,
    )
    return np.concatenate(blocks)


def _products(points: Directions, directions: Doubles) -> Doubles:
    """<φ, q> for directions on their grid, the same bits whatever stands beside them: (n, k)."""
    *lead, last = (factor.values for factor in points.factors)
    num_classes = lead[0].shape[1] if lead else 1
    at_once = max(_NUMBERS_AT_ONCE // max(2 * num_classes * len(last), 1), 1)
    table = np.empty((len(last), len(directions)))
    for start in range(0, len(directions), at_once):
        some = directions[start : start + at_once]
        high = np.rint(some[:, :-1] * _HIGH) / _HIGH
        parts = np.stack((high, some[:, :-1] - high)).reshape(-1, last.shape[1])
        halves = (last @ parts.T).reshape(len(last), 2, len(some), num_classes)
        products = halves[:, 0] + halves[:, 1]  # exact both; rounded here, entry by entry
        if lead:
            products *= lead[0][:, None, :]
        table[:, start : start + at_once] = products.sum(axis=2) + some[:, -1]
    return table
