"""k-means: seeds by k-means++, then Lloyd's passes, with the same clusters on every machine.

Which centre is nearest is decided by exact products of rounded rows (`strategies.kernels.exact`),
and a centre is the mean of an exact sum, so neither blocks nor threads nor the order of additions
can move a row to another cluster. Exact products cost twice as much as float32 ones. So a float32
product whose error has a bound comes first, and the few rows in a thousand for which it leaves two
centres in question are settled exactly.

Most rows need not even that. A row keeps a bound from above on the distance to its own centre and
one from below on that to all others, and both change a little where centres move a little (Hamerly
2010, "Making k-means even faster"). All rows meet the few centres that moved far, which would spoil
the second bound; it allows only for the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from strategies.base import Doubles, Floats, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import (
    ExactPool,
    ExactRows,
    Points,
    exact_rows,
    mean_of,
    on_sum_grid,
)
from strategies.kernels.top import first_rows

_FEWEST_PROPOSALS, _MOST_PROPOSALS = 8, 256
_SINGLE_BYTES = 2**29  # a pool whose float32 rows fit in this keeps them
_TABLE_SIZE = 2**22  # numbers in a table of rows x centres
_ROWS_AT_ONCE = 4096  # rows that come and go at a time
_FINER = 2.0**30  # the second plane of a sum continues the first, whose grid this is
_SHARES = (32, 16, 8, 4, 2)  # one of so many centres may count as having moved far
_SAFETY = 16  # operations besides the products of a row: rounding it, the centre and its norm
_UNDERFLOW = 2.0**-120
_MARGIN = 1 + 2.0**-30  # over the rounding of bounds in float64


@dataclass(frozen=True, eq=False)
class Clusters:
    """Where k-means ended: every row belongs to its nearest centre, the first of equally near."""

    labels: Rows  # (N,) in [0, k)
    centres: ExactRows  # (k,) in the coordinates of the pool: less its mean, or at unit length
    squares: Doubles  # (N,) squared distance to the own centre
    passes: int


def pool_of(points: Points, *, unit: bool = False, threads: int | None = None) -> ExactPool:
    """Points as k-means takes them: at unit length, or moved to their mean, to lose few digits."""
    mean = None if unit else mean_of(points, threads=threads)
    return ExactPool.of(points, unit=unit, mean=mean, threads=threads)


@one_blas_thread()
def k_means(
    pool: ExactPool,
    count: int,
    rng: np.random.Generator,
    *,
    weights: Doubles | None = None,
    tolerance: float = 1e-3,
    max_passes: int = 300,
) -> Clusters:
    """Clusters a pool around `count` centres, or around fewer where fewer rows differ.

    Seeds are drawn by k-means++: the first in proportion to the weights, each later one in
    proportion to weight times squared distance to the nearest earlier one, until none is left with
    any. A pass moves each centre to the weighted mean of its rows, and each row to its nearest
    centre, the first of equally near ones. A centre without weight moves to the row with the
    largest weight times squared distance. The last pass is the one in which no more than
    `tolerance` of the rows change cluster; at the default it lowers the inertia by about one part
    in 10,000.

    Lloyd 1982, "Least squares quantization in PCM"; Arthur & Vassilvitskii 2007, "k-means++".
    O(N k D) a pass, from the middle on about a quarter of it. Extra memory: 4 bytes for each number
    of the pool (which holds 8 itself), for 128 million at most, and some 100 bytes a row.

    Draws: one ``rng.random()`` for the first seed, then per batch of m proposals one
    ``rng.random((m, 2))``, of which column 0 proposes and column 1 decides, as in
    `strategies.kernels.kmeanspp`.

    Args:
        pool: N >= 1 rows; see `pool_of`.
        count: k >= 1.
        rng: Equal states cluster equally.
        weights: (N,) >= 0, not all 0; by default all 1. Only their ratios matter.
        tolerance: Share of the rows that may change cluster in the last pass.
        max_passes: Most passes; after 0 the seeds are the centres.
    """
    weights = np.ones(len(pool)) if weights is None else weights / weights.max()
    seeding = _Seeding(pool, weights)
    seeding.draw(count, rng)
    if not seeding.squares.any():  # every row lies on a centre
        centres = pool.at(np.array(seeding.seeds, np.int64))
        return Clusters(seeding.labels, centres, seeding.squares, 0)
    search = _Lloyd(pool, weights, seeding)
    passes, num_changed = 0, len(pool)
    while passes < max_passes and num_changed > tolerance * len(pool):
        passes, num_changed = passes + 1, search.take_pass()
    return Clusters(search.labels, search.centres, search.own_squares(), passes)


def squares_to(rows: ExactRows, centres: ExactRows) -> Doubles:
    """Squared distances >= 0 of all pairs: (n, D) x (k, D) -> (n, k); 0 between equal rows.

    That of a pair depends on nothing else, to the last bit.
    """
    table = rows.products(centres)
    table *= -2
    table += _square_lengths(centres)
    table += _square_lengths(rows)[:, None]
    return np.maximum(table, 0.0, out=table)


def block_rows(num_centres: int) -> int | None:
    """Rows of a block whose table with all centres stays small; None for the usual number."""
    return None if num_centres <= _TABLE_SIZE // 1024 else max(_TABLE_SIZE // num_centres, 16)


def _square_lengths(rows: ExactRows) -> Doubles:
    squares: Doubles = rows.squares * rows.scales**2
    return squares


class _Seeding:
    """k-means++ by rejection: stale distances propose, distances among the proposals decide."""

    def __init__(self, pool: ExactPool, weights: Doubles) -> None:
        self.pool = pool
        self.weights = weights
        self.seeds: list[int] = []
        self.labels = np.zeros(len(pool), np.int64)  # nearest seed
        self.squares = np.full(len(pool), np.inf)  # squared distance to it

    def draw(self, count: int, rng: np.random.Generator) -> None:
        """Draws up to `count` seeds: fewer only when every row with weight lies on one."""
        cumulative = np.cumsum(self.weights)
        first = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
        self._take([int(first)])
        num_proposals = _FEWEST_PROPOSALS
        while len(self.seeds) < count:
            cumulative = np.cumsum(self.weights * self.squares)
            if cumulative[-1] == 0:
                break
            uniforms = rng.random((num_proposals, 2))
            proposals = np.searchsorted(cumulative, uniforms[:, 0] * cumulative[-1], side="right")
            accepted = self._accepted(proposals, uniforms[:, 1])
            self._take(accepted[: count - len(self.seeds)])
            if len(accepted) > 0.6 * num_proposals:
                num_proposals = min(2 * num_proposals, _MOST_PROPOSALS)
            elif len(accepted) < 0.3 * num_proposals:
                num_proposals = max(num_proposals // 2, _FEWEST_PROPOSALS)

    def _accepted(self, proposals: Rows, uniforms: Doubles) -> list[int]:
        drawn = self.pool.at(proposals)
        among = squares_to(drawn, drawn)
        stale = self.squares[proposals]
        current = stale.copy()
        accepted = []
        for k, row in enumerate(proposals):
            if uniforms[k] * stale[k] < current[k]:
                accepted.append(int(row))
                np.minimum(current, among[k], out=current)
        return accepted

    def _take(self, rows: list[int]) -> None:
        """Makes rows seeds and brings the distances of all rows up to date."""
        start = len(self.seeds)
        self.seeds += rows
        fresh = self.pool.at(np.array(rows, np.int64))

        def of_block(block: slice) -> None:
            table = squares_to(self.pool.block(block), fresh)
            nearest = table.argmin(axis=1)
            squares = table[np.arange(len(table)), nearest]
            nearer = squares < self.squares[block]
            self.squares[block][nearer] = squares[nearer]
            self.labels[block][nearer] = start + nearest[nearer]

        map_blocks(of_block, len(self.pool), threads=self.pool.threads)


class _Singles:
    """The pool in float32, for products with a bound on their error.

    Rows are divided by `scale`, a power of two that brings all of them into the unit ball, and end
    in a 1, so that <x, c> - |c|^2 / 2 is one product; the nearest centre has the largest.
    """

    def __init__(self, pool: ExactPool) -> None:
        self._pool = pool

        def measured(block: slice) -> tuple[Doubles, Doubles]:
            rows = pool.block(block)
            return rows.scales, _square_lengths(rows)

        found = map_blocks(measured, len(pool), threads=pool.threads)
        scales, squares = (np.concatenate(part) for part in zip(*found, strict=True))
        self.scale = float(scales[squares > 0].max(initial=0)) or 1.0  # zeros have any scale
        self.squares = squares / self.scale**2  # (N,) squared length
        self._kept: Floats | None = None
        if 4 * pool.points.size <= _SINGLE_BYTES:
            self._kept = np.concatenate(map_blocks(self._made, len(pool), threads=pool.threads))

    def _made(self, rows: slice | Rows) -> Floats:
        exact = self._pool.block(rows) if isinstance(rows, slice) else self._pool.at(rows)
        singles = np.ones((len(exact), exact.values.shape[1] + 1), np.float32)
        singles[:, :-1] = self.scaled(exact)
        return singles

    def at(self, rows: slice | Rows) -> Floats:
        """(n, D + 1)."""
        return self._made(rows) if self._kept is None else self._kept[rows]

    def scaled(self, rows: ExactRows) -> Doubles:
        """Rows in units of the scale, without rounding."""
        return rows.values * (rows.scales / self.scale)[:, None]

    def factors(self, centres: ExactRows) -> tuple[Floats, Doubles]:
        """What rows are multiplied with, (D + 1, k), and bounds on the error of products, (N,).

        Higham 2002, "Accuracy and stability of numerical algorithms", section 3.1.
        """
        halves = _square_lengths(centres) / self.scale**2 / 2
        factors = np.column_stack([self.scaled(centres), -halves]).astype(np.float32)
        longest = np.sqrt(2 * halves.max())
        unit = (factors.shape[1] + _SAFETY) * float(np.finfo(np.float32).eps) / 2
        return factors.T, unit * longest * (np.sqrt(self.squares) + longest / 2) + _UNDERFLOW


class _Lloyd:
    """Where the passes stand."""

    def __init__(self, pool: ExactPool, weights: Doubles, seeding: _Seeding) -> None:
        self._pool = pool
        self._weights = weights
        self.labels = seeding.labels
        self.centres = pool.at(np.array(seeding.seeds, np.int64))
        self._singles = _Singles(pool)
        self._sums = _Sums(pool, weights, self._singles.scale, len(self.centres))
        self._sums.move(np.arange(len(pool)), {1: self.labels})
        # In units of the scale: distance to the own centre from above, to the others from below.
        self._upper = np.full(len(pool), np.inf)
        self._lower = np.zeros(len(pool))

    def own_squares(self) -> Doubles:
        def of_block(block: slice) -> Doubles:
            rows, own = self._pool.block(block), self.centres.take(self.labels[block])
            products = np.einsum("nd,nd->n", rows.values, own.values) * rows.scales * own.scales
            squares: Doubles = (_square_lengths(own) - 2 * products) + _square_lengths(rows)
            return np.maximum(squares, 0.0, out=squares)

        return np.concatenate(map_blocks(of_block, len(self._pool), threads=self._pool.threads))

    def take_pass(self) -> int:
        """Moves centres, then rows; returns how many rows changed cluster."""
        self._loosen_bounds(self._move_centres())
        rows = np.flatnonzero(self._upper * _MARGIN >= self._lower)
        nearest = self._nearest(rows)
        before = self.labels[rows]
        changed = np.flatnonzero(nearest != before)
        self.labels[rows] = nearest
        self._sums.move(rows[changed], {1: nearest[changed], -1: before[changed]})
        return len(changed)

    def _move_centres(self) -> Doubles:
        """Moves centres to their means; returns how far each moved, from above."""
        totals = np.bincount(self.labels, self._weights, minlength=len(self.centres))
        before = self._singles.scaled(self.centres)
        means = self._sums.total() / np.where(totals > 0, totals, 1.0)[:, None]
        empty = np.flatnonzero(totals == 0)
        if empty.size:
            means[empty] = before[empty]
            costs = self._weights * self.own_squares()
            rows = first_rows(-costs, min(len(empty), int((costs > 0).sum())))
            means[empty[: len(rows)]] = self._singles.scaled(self._pool.at(rows))
        self.centres = exact_rows(means * self._singles.scale)
        gaps = self._singles.scaled(self.centres) - before
        shifts: Doubles = np.sqrt(np.einsum("kd,kd->k", gaps, gaps)) * _MARGIN
        return shifts

    def _loosen_bounds(self, shifts: Doubles) -> None:
        """Lets the bounds allow for centres that moved by `shifts`."""
        self._upper += shifts[self.labels]
        order = np.argsort(-shifts, kind="stable")
        num_far = self._best_num_far(shifts[order])
        self._lower -= shifts[order[num_far]]
        if num_far:
            self._lower = np.minimum(self._lower, self._distances_to(order[:num_far]))

    def _best_num_far(self, shifts: Doubles) -> int:
        """How many of the centres that moved farthest all rows should meet, to save most."""
        count = len(shifts)
        numbers = [0, *(count // share for share in _SHARES)]
        gaps = self._lower - self._upper * _MARGIN
        costs = [number / count + np.mean(gaps <= shifts[number]) for number in numbers]
        return numbers[int(np.argmin(costs))]

    def _distances_to(self, some: Rows) -> Doubles:
        """Bounds from below on the distance to the nearest of some centres but the own one."""
        factors, errors = self._singles.factors(self.centres.take(some))
        places = np.full(len(self.centres), -1)
        places[some] = np.arange(len(some))

        def of_block(block: slice) -> Doubles:
            table = self._singles.at(block) @ factors
            own = places[self.labels[block]]
            met = np.flatnonzero(own >= 0)
            table[met, own[met]] = -np.inf
            return self._distances(table.max(axis=1) + errors[block], block)

        return np.concatenate(map_blocks(of_block, len(self._pool), threads=self._pool.threads))

    def _distances(self, products: Doubles, rows: Rows | slice) -> Doubles:
        squares = self._singles.squares[rows] - 2 * products
        distances: Doubles = np.sqrt(np.maximum(squares, 0.0))
        return distances

    def _nearest(self, rows: Rows) -> Rows:
        """The nearest centre of each of `rows`, whose bounds are renewed."""
        factors, errors = self._singles.factors(self.centres)

        def of_block(block: slice) -> Rows:
            some = rows[block]
            table = self._singles.at(some) @ factors
            every, error = np.arange(len(some)), errors[some]
            nearest = table.argmax(axis=1)
            best = table[every, nearest] - error
            table[every, nearest] = -np.inf
            second = table.max(axis=1) + error
            self._upper[some] = self._distances(best, some)
            self._lower[some] = self._distances(second, some)
            unsure = np.flatnonzero(second >= best)
            if unsure.size:
                squares = squares_to(self._pool.at(some[unsure]), self.centres)
                nearest[unsure] = squares.argmin(axis=1)
                self._lower[some[unsure]] = 0.0
            return np.asarray(nearest)

        step = block_rows(len(self.centres))
        found = map_blocks(of_block, len(rows), threads=self._pool.threads, block_rows=step)
        every: Rows = np.concatenate([np.empty(0, np.int64), *found])
        return every


class _Sums:
    """The weighted sum of the rows of each cluster, exact, so that rows can come and go.

    Terms are divided by `scale` and rounded to the grid of exact sums. Weights may be tiny, so what
    that rounding takes off a weighted row is summed as well, on a grid 2**30 times finer.
    """

    def __init__(self, pool: ExactPool, weights: Doubles, scale: float, count: int) -> None:
        self._pool = pool
        self._weights = weights
        self._scale = scale
        self._planes = np.zeros((1 if (weights == 1).all() else 2, count, pool.points.shape[1]))
        self._lock = threading.Lock()

    def total(self) -> Doubles:
        """(k, D) in units of the scale."""
        total: Doubles = np.tensordot(_FINER ** -np.arange(len(self._planes)), self._planes, 1)
        return total

    def move(self, rows: Rows, signs: dict[int, Rows]) -> None:
        """Adds `rows` to the clusters of each entry, times its sign."""
        from scipy.sparse import csr_array  # a tenth of a second, only where it is used

        def of_block(block: slice) -> None:
            num = len(rows[block])
            values = np.repeat(np.array(list(signs), np.float64), num)
            clusters = np.concatenate([labels[block] for labels in signs.values()])
            columns = np.tile(np.arange(num), len(signs))
            table = csr_array((values, (clusters, columns)), shape=(self._planes.shape[1], num))
            for plane, terms in enumerate(self._terms(rows[block])):
                change = table @ terms
                with self._lock:  # exact sums may be added up in any order
                    self._planes[plane] += change

        map_blocks(of_block, len(rows), threads=self._pool.threads, block_rows=_ROWS_AT_ONCE)

    def _terms(self, rows: Rows) -> Iterator[Doubles]:
        exact = self._pool.at(rows)
        terms = exact.values * (exact.scales * self._weights[rows] / self._scale)[:, None]
        rounded = on_sum_grid(terms)
        yield rounded
        if len(self._planes) > 1:
            yield on_sum_grid((terms - rounded) * _FINER)
