"""Greedy k-centre, exactly, without a pass over the pool for each pick.

Distances to the nearest centre only shrink, so an old one bounds the new one from above. A window
of the rows with the largest bounds is kept exact; while its best row is at least as far as the
bound of every row outside, that row *is* the greedy pick. When it is not, matrix products bring the
largest bounds up to date with the picks made meanwhile, and a new window is taken. The sequence is
that of the plain algorithm in float64, ties by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.distances import CentredPool, Kind, Points, exact_squares, take
from strategies.kernels.top import first_rows

WINDOW = 384
_CENTRES_AT_ONCE = 2048
# A row sleeps while its bound is below this share of the farthest squared distance, which falls by
# a few percent from window to window. Lower shares waste products, higher ones windows.
_AWAKE = 0.98
# Exact meetings cost about three times as much, and pay when windows run dry for want of digits.
_FEW_PICKS, _LEAN_WINDOWS = 8, 4
_TAKEN = -np.inf


@dataclass(frozen=True, eq=False)
class Bounds:
    """How near the rows of a pool are to centres they have met, for a search to go on from.

    Centres have an order, and a row has met the first so many of them.
    """

    squares: Doubles  # (N,) squared distance to the nearest centre met, from above
    num_met: npt.NDArray[np.int32]  # (N,)


def k_centre(
    points: Points,
    count: int,
    labelled: Points,
    *,
    first: int | None = None,
    window: int = WINDOW,
    threads: int | None = None,
) -> tuple[Rows, Doubles]:
    """The `count` rows that greedy k-centre takes, in order, and how far each was.

    Each pick is the row farthest from its nearest labelled or picked point, the smaller row where
    two are equally far. Without labelled points the first pick is the row nearest the mean of the
    pool, and its distance is the one to that mean.

    Gonzalez 1985; Sener & Savarese 2018, algorithm 1. Extra memory: some 40 bytes a row, and for
    any N some ten megabytes: tables of window x (window + 2,048) and two blocks of rows.

    Args:
        points: (N, D) finite, may be memory-mapped.
        count: B, between 1 and N.
        labelled: (M, D), M may be 0.
        first: The row to begin with, and its distance 0, where nothing is labelled.
        window: Rows kept exact at a time; changes the time only.
        threads: As `map_blocks` takes it; changes the time only.
    """
    rows, distances, _ = k_centre_onwards(
        points, count, labelled, first=first, window=window, threads=threads
    )
    return rows, distances


@one_blas_thread()
def k_centre_onwards(
    points: Points,
    count: int,
    labelled: Points,
    *,
    bounds: Bounds | None = None,
    order: Rows | None = None,
    first: int | None = None,
    window: int = WINDOW,
    threads: int | None = None,
) -> tuple[Rows, Doubles, Bounds]:
    """As `k_centre`, going on from bounds that an earlier search has left.

    Any true bounds lead to the same picks and distances, bit for bit; good ones save the meeting
    of the pool with its labelled points.

    Args:
        points: (N, D).
        count: B.
        labelled: (M, D).
        bounds: By centres in `order`; None where no row has met any, as where M is 0.
        order: (M,) the labelled points in the order of meeting, by default as they come.
        first: The row to begin with where nothing is labelled.
        window: Rows kept exact at a time.
        threads: As `map_blocks` takes it.

    Returns:
        Rows, distances, and bounds by the labelled points in `order` and then the rows picked.
    """
    order = np.arange(len(labelled)) if order is None else order
    search = _Search(CentredPool.of(points, threads=threads), labelled, order, window)
    if bounds is not None:
        search.begin_from(bounds, count)
    if len(labelled) == 0:
        search.take_first(first)
    while len(search.picks) < count:
        search.bring_up_to_date()
        search.pick_from_window(count)
    return np.array(search.picks, np.int64), np.sqrt(search.reached), search.left()


class _Search:
    """Where a greedy search stands.

    Centres are numbered: the labelled points first, then the picks. A row's bound has met the
    first so many of them; rows too near to be picked soon are left asleep and meet theirs later, at
    once, or never.
    """

    def __init__(self, pool: CentredPool, labelled: Points, order: Rows, window: int) -> None:
        self.pool = pool
        self.labelled = labelled
        self.order = order
        self.window = window
        self.picks: list[int] = []
        self.reached: list[float] = []  # squared distance of each pick
        self.bounds = np.full(len(pool.points), np.inf)  # squared distance to a centre, from above
        self._num_met = np.zeros(len(pool.points), np.int32)
        self._farthest = 0.0  # squared distance that some row is known to have
        self._num_lean = 0  # windows in a row that gave few picks
        self._is_exact = False  # whether rows meet centres by differences

    @property
    def kind(self) -> Kind:
        return np.float64 if self._is_exact else np.float32

    @property
    def num_centres(self) -> int:
        return len(self.labelled) + len(self.picks)

    def centres(self, start: int, stop: int) -> Points:
        split = len(self.labelled)
        picks = self.picks[max(start - split, 0) : max(stop - split, 0)]
        picked = self.pool.points[picks]
        if start >= split:
            return picked
        return np.concatenate([take(self.labelled, self.order[start:stop]), picked])

    def begin_from(self, bounds: Bounds, count: int) -> None:
        """Takes over bounds. They still say which rows are farthest, so a window comes first."""
        self.bounds[:] = bounds.squares
        self._num_met[:] = bounds.num_met
        self.pick_from_window(count)

    def left(self) -> Bounds:
        return Bounds(self.bounds, self._num_met)

    def take_first(self, row: int | None) -> None:
        if row is not None:
            self._take(row, 0.0)
            return
        row = int(np.argmin(self.pool.spread))
        self._take(row, float(self.pool.spread[row]))

    def bring_up_to_date(self) -> None:
        """Lets the bounds that are not well below the farthest distance meet all centres."""
        awake = self._behind(_AWAKE * self._farthest)
        if awake.size == 0:
            return
        # Rows that have slept equally long share blocks, and a block meets what its rows missed.
        awake = awake[np.argsort(self._num_met[awake], kind="stable")]
        for start in range(self._num_met[awake[0]], self.num_centres, _CENTRES_AT_ONCE):
            self._meet(awake, start, min(start + _CENTRES_AT_ONCE, self.num_centres))
        self._num_met[awake] = self.num_centres

    def _behind(self, least: float) -> Rows:
        """Rows with a bound of `least` or more that could shrink, if they met all centres."""
        rows: Rows = np.flatnonzero(
            (self.bounds >= least) & (self.bounds > 0) & (self._num_met < self.num_centres)
        )
        return rows

    def _meet(self, rows: Rows, start: int, stop: int) -> None:
        pool, known, centres = self.pool, self.bounds[rows], self.centres(start, stop)
        if not self._is_exact:
            skips = np.maximum(self._num_met[rows] - start, 0)
            self.bounds[rows] = np.minimum(known, pool.upper_bounds(rows, centres, skips))
            return

        def settled(block: slice) -> Doubles:
            return pool.settle(take(pool.points, rows[block]), centres, known[block], self.kind)

        self.bounds[rows] = np.concatenate(map_blocks(settled, len(rows), threads=pool.threads))

    def pick_from_window(self, count: int) -> None:
        """Picks up to `count` in all, while the farthest row of a new window is certain."""
        num_before = len(self.picks)
        ordered = first_rows(-self.bounds, min(self.window + 1, len(self.bounds)))
        window = _Window(self, np.sort(ordered[: self.window]))
        # The first row outside speaks for all others.
        outside = ordered[self.window :]
        limit = (-self.bounds[outside[0]], outside[0]) if outside.size else (np.inf, 0)
        while len(self.picks) < count:
            row, self._farthest = window.farthest()
            if self._farthest == _TAKEN or (-self._farthest, row) > limit:
                break
            self._take(row, self._farthest)
            window.take(row)
        self.bounds[window.rows] = window.distances
        self._num_met[window.rows] = self.num_centres
        self._judge(len(self.picks) - num_before)

    def _judge(self, num_picked: int) -> None:
        """Lets rows meet centres exactly from now on, where rounding hides the farthest row.

        A window without a pick is no standstill: it has made its own bounds exact.
        """
        self._num_lean = self._num_lean + 1 if num_picked < _FEW_PICKS else 0
        if self._num_lean == _LEAN_WINDOWS and not self._is_exact:
            self._is_exact = True
            self._num_met[:] = 0

    def _take(self, row: int, distance: float) -> None:
        self.picks.append(row)
        self.reached.append(distance)
        self.bounds[row] = _TAKEN


class _Window:
    """Rows whose distances to the nearest centre are kept exact while picks are made among them."""

    def __init__(self, search: _Search, rows: Rows) -> None:
        self.rows = rows[search.bounds[rows] > _TAKEN]  # (W,) ascending, none of them picked
        pool = search.pool
        points = pool.points[self.rows]
        self.distances = np.full(len(self.rows), np.inf)
        for start in range(0, search.num_centres, _CENTRES_AT_ONCE):
            centres = search.centres(start, min(start + _CENTRES_AT_ONCE, search.num_centres))
            self.distances = pool.settle(points, centres, self.distances, search.kind)
        self._lower, _ = pool.lower_table(points, points, search.kind)
        self._unit = pool.scale**2
        self._points = points.astype(np.float64)

    def farthest(self) -> tuple[int, float]:
        """The row with the largest distance, the smallest such row, and the distance."""
        place = int(np.argmax(self.distances))
        return int(self.rows[place]), float(self.distances[place])

    def take(self, row: int) -> None:
        """Makes `row` a centre: others in the window may now be nearer to one."""
        place = int(np.searchsorted(self.rows, row))
        self.distances[place] = _TAKEN
        # A distance of zero cannot shrink, nor can one below the bound of its pair.
        near = np.flatnonzero(self._lower[place] <= self.distances * self._unit)
        if near.size and self.distances.max() > 0:
            squares = exact_squares(self._points[near], self._points[place])
            self.distances[near] = np.minimum(self.distances[near], squares)
