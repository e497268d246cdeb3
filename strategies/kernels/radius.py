"""The graph of all pairs of a pool that are nearer than delta, and what balls of that radius cover.

Rows are brought to unit length, where ``|u - v|^2 = 2 - 2<u, v>``: one float32 product of a tile of
rows with another says which pairs are near, but for those within its rounding error of delta. These
few are settled by their difference in float64. So which pairs are neighbours depends on the two
rows alone, never on tiles, threads or BLAS, and the graph is symmetric.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Floats, Rows, StrategyError
from strategies.kernels.blocks import NARROW_ROWS, map_blocks, one_blas_thread
from strategies.kernels.distances import Points

Flags = npt.NDArray[np.bool_]
Columns = npt.NDArray[np.int32]

MOST_EDGES = 2**28
"""Neighbours that a graph may hold in all, both ways counted: 1 GiB of columns."""

FARTHEST = 2.0
"""No two unit rows are farther apart."""

_TILE = 1024  # rows and columns of a tile; a place in it fits 16 bits, which sort by counting
_PAIRS_AT_ONCE = 512
_SAFETY = 16  # roundings besides the D products: of the rows, of what is compared with
_NEAREST = 1e-6  # least delta that is found: covers equal rows and nothing else


def unit_rows(points: Points) -> Doubles:
    """Rows divided by their length, in float64; a row of zeros stays one: (n, D) -> (n, D)."""
    rows = points.astype(np.float64)
    if points.dtype == np.float64:
        # Squares of float64 may leave its range; a power of two brings rows near 1 unrounded.
        _, exponents = np.frexp(np.abs(rows).max(axis=1, initial=0.0))
        rows = np.ldexp(rows, -exponents[:, None])
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    rows /= np.where(lengths > 0, lengths, 1.0)[:, None]
    return rows


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Rows at unit length: in float32 for products, in float64 a few at a time.

    Memory: 4 bytes a number, for all rows.
    """

    parts: tuple[Points, ...]  # rows as given, one part after the other; may be memory-mapped
    singles: Floats  # (n, D) rounded to float32
    is_zero: Flags  # (n,) rows without a direction
    threads: int | None = None

    @classmethod
    def of(cls, *parts: Points, threads: int | None = None) -> UnitRows:
        """The rows of all parts, the first of which sets the width; empty parts are left out."""
        parts = tuple(part for part in parts if len(part)) or parts[:1]
        singles = np.empty((sum(map(len, parts)), parts[0].shape[1]), np.float32)
        start = 0
        for part in parts:
            _fill_with_units(singles[start : start + len(part)], part, threads)
            start += len(part)
        flags = map_blocks(lambda block: ~singles[block].any(axis=1), len(singles), threads=threads)
        return cls(parts, singles, np.concatenate(flags) if flags else np.empty(0, bool), threads)

    def __len__(self) -> int:
        return len(self.singles)

    @property
    def slack(self) -> float:
        """How far a product of two rows in float32 can be from the truth."""
        return float((self.singles.shape[1] + _SAFETY) * 2.0**-24)

    def at(self, rows: Rows) -> Doubles:
        """Some rows in float64."""
        taken = np.empty((len(rows), self.singles.shape[1]))
        start = 0
        for part in self.parts:
            inside = (rows >= start) & (rows < start + len(part))
            taken[inside] = unit_rows(part[rows[inside] - start])
            start += len(part)
        return taken

    def squares(self, left: Rows, right: Rows) -> Doubles:
        """Squared distances of aligned rows by their difference; 0 between equal rows."""
        squares = np.empty(len(left))
        for start in range(0, len(left), _PAIRS_AT_ONCE):
            some = slice(start, start + _PAIRS_AT_ONCE)
            gaps = self.at(left[some]) - self.at(right[some])
            squares[some] = np.einsum("nd,nd->n", gaps, gaps)
        squares[self.is_zero[left] != self.is_zero[right]] = 1.0  # without rounding
        return squares

    def products(self, left: Rows | slice, right: Rows | slice) -> Floats:
        """Products of all pairs within `slack`; where a row is zero, what its distance asks for."""
        table: Floats = self.singles[left] @ self.singles[right].T
        left_zero, right_zero = self.is_zero[left], self.is_zero[right]
        if left_zero.any() or right_zero.any():
            # |u - 0|^2 = 1 = 2 - 2/2 and |0 - 0|^2 = 0 = 2 - 2.
            table[left_zero] = 0.5
            table[:, right_zero] = 0.5
            table[np.ix_(left_zero, right_zero)] = 1.0
        return table

    def near(self, left: slice, right: slice, delta: float) -> tuple[Rows, Rows]:
        """Pairs with distance < `delta`, as places in the two slices, by row and then column."""
        square = _square(delta)
        table = self.products(left, right)
        places = np.flatnonzero(table >= np.float32(1 - square / 2 - self.slack))
        is_doubtful = table.reshape(-1)[places] <= np.float32(1 - square / 2 + self.slack)
        doubtful = np.flatnonzero(is_doubtful)
        if doubtful.size:
            rows, columns = np.divmod(places[doubtful], table.shape[1])
            squares = self.squares(rows + left.start, columns + right.start)
            places = np.delete(places, doubtful[squares >= square])
        rows, columns = np.divmod(places, table.shape[1])
        return rows, columns


def _fill_with_units(singles: Floats, part: Points, threads: int | None) -> None:
    def of_block(block: slice) -> None:
        singles[block] = unit_rows(part[block])

    map_blocks(of_block, len(part), threads=threads)


def _square(delta: float) -> float:
    return max(delta * delta, 5e-324)  # distance 0 is below any delta


@dataclass(frozen=True, eq=False)
class RadiusGraph:
    """Neighbours of each row, ascending, itself among them; symmetric."""

    pointers: Rows  # (N + 1,) where the neighbours of each row begin
    columns: Columns  # (edges,)

    def __len__(self) -> int:
        return len(self.pointers) - 1

    def neighbours(self, row: int) -> Columns:
        return self.columns[self.pointers[row] : self.pointers[row + 1]]

    def neighbours_of_all(self, rows: Columns) -> Columns:
        """Neighbours of each of `rows`, one after the other."""
        return np.concatenate([self.neighbours(row) for row in rows.tolist()])

    def degrees(self, counted: Flags) -> Rows:
        """How many neighbours of each row are `counted`, (N,)."""

        def of_block(block: slice) -> Rows:
            starts = self.pointers[block.start : block.stop + 1]
            flags = counted[self.columns[starts[0] : starts[-1]]]
            sums: Rows = np.add.reduceat(flags, starts[:-1] - starts[0], dtype=np.int64)
            return sums

        return np.concatenate(map_blocks(of_block, len(self), block_rows=NARROW_ROWS))


@dataclass(frozen=True, eq=False)
class _Piece:
    """Neighbours of a block of rows among the columns of one tile."""

    counts: Columns  # (n,) a row
    columns: Columns  # in order of rows


@one_blas_thread()
def radius_graph(
    rows: UnitRows, count: int, delta: float, *, most_edges: int | None = None
) -> RadiusGraph:
    """The graph of the first `count` rows with strictly less than `delta` between neighbours.

    Half of the tiles are computed and mirrored: N^2 D operations. Memory: 4 bytes a neighbour for
    the result and once more while it is laid out.

    Args:
        rows: Unit rows.
        count: N, at least 1.
        delta: Above 0.
        most_edges: Neighbours in all, both ways counted, beyond which the graph is refused; by
            default `MOST_EDGES`.

    Raises:
        StrategyError: The graph would have more than `most_edges`.
    """
    counter = _Counter(delta, most_edges or MOST_EDGES)

    def of_block(left: slice) -> list[tuple[int, _Piece]]:
        pieces = []
        for start in range(left.start, count, _TILE):
            right = slice(start, min(start + _TILE, count))
            near, columns = rows.near(left, right, delta)
            pieces.append((left.start, _piece(near, columns + start, left)))
            if start > left.start:
                by_column = np.argsort(columns.astype(np.uint16), kind="stable")
                mirrored = near[by_column] + left.start
                pieces.append((start, _piece(columns[by_column], mirrored, right)))
            counter.add(len(near) * (2 if start > left.start else 1))
        return pieces

    found = map_blocks(of_block, count, threads=rows.threads, block_rows=_TILE)
    # Blocks are visited in order, so the pieces of a row come in the order of their columns.
    pieces_of: dict[int, list[_Piece]] = {}
    for block in found:
        for start, piece in block:
            pieces_of.setdefault(start, []).append(piece)
    del found
    return _laid_out(pieces_of, count, rows.threads)


def _piece(rows: Rows, columns: Rows, block: slice) -> _Piece:
    counts = np.bincount(rows, minlength=block.stop - block.start)
    return _Piece(counts.astype(np.int32), columns.astype(np.int32))


def _laid_out(pieces_of: dict[int, list[_Piece]], count: int, threads: int | None) -> RadiusGraph:
    degrees = [np.sum([p.counts for p in pieces_of[start]], axis=0) for start in sorted(pieces_of)]
    pointers = np.zeros(count + 1, np.int64)
    np.cumsum(np.concatenate(degrees), out=pointers[1:])
    columns = np.empty(pointers[-1], np.int32)

    def fill(block: slice) -> None:
        places = pointers[block].copy()  # where each row goes on
        for piece in pieces_of.pop(block.start):  # and leaves memory
            starts = np.cumsum(piece.counts) - piece.counts
            shifts = np.repeat(places - starts, piece.counts)
            columns[np.arange(len(shifts)) + shifts] = piece.columns
            places += piece.counts

    map_blocks(fill, count, threads=threads, block_rows=_TILE)
    return RadiusGraph(pointers, columns)


class _Counter:
    """Counts neighbours while tiles are made, and stops before they fill the memory."""

    def __init__(self, delta: float, most: int) -> None:
        self._delta, self._most = delta, most
        self._lock, self._total = threading.Lock(), 0

    def add(self, number: int) -> None:
        with self._lock:
            self._total += number
        if self._total > self._most:
            raise StrategyError(
                f"samples have more than {self._most:,} neighbours nearer than {self._delta:g} in "
                f"all, and {4 * self._most / 2**20:,.0f} MiB of them are kept at most; give a "
                "lower delta, or select from a part of the pool (see subsample)"
            )


@one_blas_thread()
def rows_near(rows: UnitRows, count: int, delta: float) -> Flags:
    """Whether each of the first `count` rows is nearer than `delta` to any row after them."""

    def of_block(left: slice) -> Flags:
        is_near = np.zeros(left.stop - left.start, bool)
        for start in range(count, len(rows), _TILE):
            right = slice(start, min(start + _TILE, len(rows)))
            is_near[rows.near(left, right, delta)[0]] = True
        return is_near

    return np.concatenate(map_blocks(of_block, count, threads=rows.threads, block_rows=_TILE))


class Cover:
    """What is covered while rows are picked, and how much more each row would cover.

    Covering a row lowers the degrees of its neighbours, which happens once to each: all picks
    together cost O(edges).
    """

    def __init__(self, graph: RadiusGraph, covered: Flags) -> None:
        self._graph = graph
        self._is_open = ~covered
        self.degrees = graph.degrees(self._is_open)  # (N,) uncovered neighbours
        self.covered_by = np.full(len(graph), -1, np.int64)  # (N,) number of the pick, or -1
        self.picks: list[int] = []

    def take(self, row: int) -> int:
        """Picks `row`; returns how many rows it newly covered."""
        neighbours = self._graph.neighbours(row)
        fresh = neighbours[self._is_open[neighbours]]
        if fresh.size:
            self._is_open[fresh] = False
            self.covered_by[fresh] = len(self.picks)
            touched = self._graph.neighbours_of_all(fresh)
            self.degrees -= np.bincount(touched, minlength=len(self.degrees))
        self.picks.append(row)
        return len(fresh)


@one_blas_thread()
def pure_radius(rows: UnitRows, labels: Rows, share: float) -> float:
    """The largest delta at which at least a `share` of balls hold rows of one label only.

    A ball is open, so that of row i is pure exactly up to the distance r_i to the nearest row with
    another label: delta is the ``ceil(share * n)``-th largest r_i. At most `FARTHEST`, as where
    there is one label only, and no smaller than what tells equal rows from others.
    Operations: 2 D for each pair of rows with different labels, and no pair is kept.
    """
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.unique(labels), side="right")
    products = _nearest_products(rows, order, ends)
    squares = 2 - 2 * products.astype(np.float64)
    rank = len(rows) - max(int(np.ceil(share * len(rows))), 1)
    middle = float(np.partition(squares, rank)[rank])
    if middle == np.inf:
        return FARTHEST
    # Rounding moves the value at a rank by no more than it moves each; those in reach are settled.
    is_near = np.abs(squares - middle) <= 4 * rows.slack
    smaller = int(np.count_nonzero((squares < middle) & ~is_near))
    settled = _settled(rows, labels, np.flatnonzero(is_near), products)
    delta = float(np.sqrt(np.partition(settled, rank - smaller)[rank - smaller]))
    return min(max(delta, _NEAREST), FARTHEST)


def _nearest_products(rows: UnitRows, order: Rows, ends: Rows) -> Floats:
    """The largest product of each row with a row of another label; -inf without any: (n,)."""
    tiles = [
        (slice(start, min(start + _TILE, end)), end)
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
        for start in range(begin, end, _TILE)
    ]

    def of_tiles(some: slice) -> list[tuple[Floats, Floats]]:
        return [of_tile(*tile) for tile in tiles[some]]

    def of_tile(left: slice, end: int) -> tuple[Floats, Floats]:
        """Maxima of the rows of a tile, and of those of all later labels with the tile."""
        mine = np.full(left.stop - left.start, -np.inf, np.float32)
        theirs = np.empty(len(order) - end, np.float32)
        for start in range(end, len(order), _TILE):
            table = rows.products(order[left], order[start : start + _TILE])
            np.maximum(mine, table.max(axis=1), out=mine)
            theirs[start - end : start - end + _TILE] = table.max(axis=0)
        return mine, theirs

    found = map_blocks(of_tiles, len(tiles), threads=rows.threads, block_rows=1)
    most = np.full(len(order), -np.inf, np.float32)
    for (left, end), [(mine, theirs)] in zip(tiles, found, strict=True):
        most[left] = np.maximum(most[left], mine)
        most[end:] = np.maximum(most[end:], theirs)
    nearest = np.empty_like(most)
    nearest[order] = most
    return nearest


def _settled(rows: UnitRows, labels: Rows, which: Rows, products: Floats) -> Doubles:
    """The exact least squared distance of some rows to a row of another label."""

    def of_block(block: slice) -> Doubles:
        mine = which[block]
        least = np.full(len(mine), np.inf)
        limits = products[mine] - np.float32(2 * rows.slack)
        for start in range(0, len(rows), _TILE):
            right = slice(start, min(start + _TILE, len(rows)))
            table = rows.products(mine, right)
            is_other = labels[mine][:, None] != labels[right]
            near, columns = np.nonzero((table >= limits[:, None]) & is_other)
            np.minimum.at(least, near, rows.squares(mine[near], columns + start))
        return least

    blocks = map_blocks(of_block, len(which), threads=rows.threads, block_rows=_TILE)
    return np.concatenate(blocks)
