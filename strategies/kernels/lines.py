"""The pool on one line a class: search for where the class begins, and what lies beside it.

On the line of class k all samples, labelled or not, stand by how much the learner takes them for k.
A labelled sample says "k" or "not k". Between neighbouring labels that differ lies a boundary of
the class: a stretch of samples without a label, to be halved, or nothing any more: a cut.
"""

from __future__ import annotations

from bisect import bisect
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_OPEN = -1  # no label


class Found(NamedTuple):
    """A place worth a query."""

    length: int  # what is compared between lines: of the stretch, or the way to the farther label
    place: int
    reach: int  # the way to the farther of the nearest label of k and the nearest other label


class Line:
    """The line of one class."""

    def __init__(self, is_class: npt.NDArray[np.int8]) -> None:
        """`is_class`: by place, 1 for k, 0 for another class, -1 for no label; (T,)."""
        known = np.flatnonzero(is_class != _OPEN)
        differ = np.flatnonzero(np.diff(is_class[known]))
        low, high = known[differ], known[differ + 1]
        gaps = high - low - 1
        wide = gaps > 0
        self._labels: list[int] = is_class.tolist()
        self._known: list[int] = known.tolist()
        # Of equal stretches the higher comes first, which is nearer the class.
        columns = (gaps[wide], -low[wide], high[wide])
        self._stretches = list(zip(*(column.tolist() for column in columns), strict=True))
        heapify(self._stretches)
        self._cuts: list[int] = low[~wide].tolist()  # each between this place and the next
        self._sides: _Sides | None = None

    def stretch(self) -> Found | None:
        """The middle of the shortest stretch between labels that differ; the upper of two."""
        while self._stretches:
            gap, minus_low, high = self._stretches[0]
            if self._known[bisect(self._known, -minus_low)] == high:
                half = (gap + 2) // 2
                return Found(gap, half - minus_low, half)
            heappop(self._stretches)  # a label has come to lie in it
        return None

    def beside_cut(self) -> Found | None:
        """The open place that is nearest to labels of both kinds, where no stretch is left.

        Both labels next to it are then of one kind, or it is at an end of the line, and the nearest
        label of the other kind lies just across the nearest cut.
        """
        if self._sides is None:
            self._sides = _Sides(np.array(self._labels, np.int8), self._cuts)
        return self._sides.nearest()

    def label(self, place: int, is_class: bool) -> None:
        """A label comes to lie at an open place."""
        self._labels[place] = int(is_class)
        at = bisect(self._known, place)
        self._known.insert(at, place)
        if self._sides is not None:
            self._sides.close(place)
        for low, high in pairwise(self._known[max(at - 1, 0) : at + 2]):
            if self._labels[low] != self._labels[high]:
                self._between(low, high)

    def _between(self, low: int, high: int) -> None:
        if high - low > 1:
            heappush(self._stretches, (high - low - 1, -low, high))
            return
        self._cuts.append(low)
        if self._sides is not None:
            self._sides.add(low)


class _Sides:
    """The open places below and above each cut, nearest first."""

    def __init__(self, is_class: npt.NDArray[np.int8], cuts: list[int]) -> None:
        # Of each place the next open one, downwards and upwards, or a step towards it. Places are
        # moved up by one, so that 0 and T + 1 say that there is none.
        places = np.arange(len(is_class) + 2)
        is_open = np.concatenate([[True], is_class == _OPEN, [True]])
        self._none = {-1: 0, 1: len(is_class) + 1}
        self._next = {
            -1: np.maximum.accumulate(np.where(is_open, places, 0)),
            1: np.minimum.accumulate(np.where(is_open, places, len(places))[::-1])[::-1].copy(),
        }
        self._is_open: list[bool] = is_open.tolist()
        self._heap: list[tuple[int, int, int, int]] = []
        for cut in cuts:
            self.add(cut)

    def add(self, cut: int) -> None:
        """A cut between this place and the next."""
        self._push(cut, -1)
        self._push(cut, 1)

    def close(self, place: int) -> None:
        """A place that is open no more."""
        self._is_open[place + 1] = False
        for step, links in self._next.items():
            links[place + 1] = place + 1 + step

    def nearest(self) -> Found | None:
        """The open place nearest to the far side of a cut; of equals the highest."""
        while self._heap:
            length, minus_place, cut, step = self._heap[0]
            if self._is_open[1 - minus_place]:
                return Found(length, -minus_place, length)
            heappop(self._heap)
            self._push(cut, step)
        return None

    def _push(self, cut: int, step: int) -> None:
        """Puts the nearest open place on one side of a cut on the heap, with its way across."""
        far = cut + 1 if step < 0 else cut
        found = self._open_from(cut + 1 if step < 0 else cut + 2, step)
        if found != self._none[step]:
            place = found - 1
            heappush(self._heap, (abs(place - far), -place, cut, step))

    def _open_from(self, place: int, step: int) -> int:
        """The first open place at or after this one, both moved up by one."""
        links = self._next[step]
        while links[place] != place:
            links[place] = links[links[place]]
            place = int(links[place])
        return place
