"""Greedy coverage, exactly: picks that together resemble the pool as much as they can.

``f(S) = Σ_i max_{j in S} e_ij``, where ``e_ij`` is what candidate j is worth to row i: a similarity
that may be weighted and capped. Candidate j gains ``Σ_i max(e_ij - m_i, 0)``, with ``m_i`` what
row i has reached. All terms lie on the grid of sums, so gains are exact, in whatever order they are
added up and corrected.

The gains of the whole pool are kept up to date: a pick raises ``m`` for some rows, and what other
candidates could have given these rows is taken off. Of B picks about ``log B`` raise a given row,
so all of this is about ``N log B`` rows of N similarities, instead of the ``N B`` of computing
every gain before each pick, and most of those are never computed: to row i only candidates above
``m_i`` matter, and they get ever fewer. One pass over all pairs writes down, for each row, the
candidates above a threshold, set such that all fits into memory. Once ``m_i`` has reached the
threshold, the row is served from its list.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import on_sum_grid
from strategies.kernels.lazy import lazy_greedy
from strategies.kernels.similarity import SUM_UNITS, Similarity, half_cosine

KEPT_PAIRS = 2**26
"""Pairs written down at most, 8 bytes each."""

_SAMPLE = 512  # candidates by which thresholds are guessed
_PLANNED = 0.9  # of the memory, since the guess is one
_COLUMNS_AT_ONCE = 1024
_RAISED_AT_ONCE = 512
_ENTRIES_AT_ONCE = 2**19
_PLACE_BITS = np.uint64(32)
_PLACE = np.uint64(2**32 - 1)
_TAKEN = -np.inf

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Cover:
    """A batch and what it stands for."""

    rows: Rows  # (B,) in the order picked
    gains: Doubles  # (B,) what each added to f
    reached: Doubles  # (N,) what each row has in the end
    stands_for: Rows  # (N,) place in the batch of the pick worth most to the row; see `cover`


@one_blas_thread()
def cover(
    similarity: Similarity,
    count: int,
    *,
    reached: Doubles | None = None,
    weights: Doubles | None = None,
    caps: Doubles | None = None,
    kept_pairs: int = KEPT_PAIRS,
) -> Cover:
    """Picks the row with the largest gain, `count` times; of equal gains the smaller row.

    Args:
        similarity: Of the pool with itself.
        count: B, at most N.
        reached: (N,) what each row has beforehand, such as its similarity to the labelled samples;
            0 by default. A row that no pick is worth more to keeps -1 in `Cover.stands_for`.
        weights: (N,) in [0, 1], what similarities to each row are multiplied by.
        caps: (N,) what a pick is worth to each row at most.
        kept_pairs: Pairs written down at most. Decides time and memory, never a pick.
    """
    search = _Search(similarity, _Worth(weights, caps), reached, kept_pairs)
    gains = search.run(count)
    # A pick stands for itself, even if an equal row was picked before.
    search.stands_for[search.picks] = np.arange(count)
    return Cover(np.array(search.picks), gains, search.reached, search.stands_for)


class _Worth:
    """Turns similarities to rows into what they are worth to them, entry by entry."""

    def __init__(self, weights: Doubles | None, caps: Doubles | None) -> None:
        self._weights = weights
        self._caps = None if caps is None else on_sum_grid(caps)
        self.is_plain = weights is None and caps is None

    def __call__(self, similarities: Doubles, rows: Rows) -> Doubles:
        """Of a table or list, and the rows its entries belong to, of a shape that fits it."""
        if self._weights is not None:
            similarities = on_sum_grid(similarities * self._weights[rows])
        if self._caps is not None:
            similarities = np.minimum(similarities, self._caps[rows])
        return similarities

    def invert(self, reached: Doubles) -> Doubles:
        """Similarities that are worth no more to each row than it has reached: (N,) in [0, 1]."""
        least = reached
        if self._weights is not None:
            # Less by what rounding to the grid may add.
            weights = np.where(self._weights > 0, self._weights, 1.0)
            least = np.where(self._weights > 0, reached / weights - 2 / SUM_UNITS, 1.0)
        if self._caps is not None:
            least = np.where(self._caps <= reached, 1.0, least)
        return np.clip(least, 0.0, 1.0)


class _Lists:
    """For each row the candidates more similar to it than its threshold, the least similar first.

    An entry is one word, the similarity in its upper half and the candidate in its lower one.
    """

    def __init__(self, num: int, capacity: int) -> None:
        self.thresholds = np.ones(num)  # nothing is more similar than 1, so an empty list will do
        self.starts, self.stops = np.zeros((2, num), np.int64)
        self.alive = np.zeros(num, np.int64)  # where entries begin that still matter to the row
        self._words = np.empty(capacity, np.uint64)
        self._num_used = 0
        self._lock = threading.Lock()

    def fill(self, rows: slice, thresholds: Doubles, found: list[tuple[Rows, Words]]) -> None:
        """Writes down what was `_found` for n rows in each tile, if there is room."""
        totals = np.sum([counts for counts, _ in found], axis=0)
        with self._lock:
            start = self._num_used
            if start + totals.sum() > len(self._words):
                return
            self._num_used += int(totals.sum())
        starts = start + np.cumsum(totals) - totals
        places = starts.copy()
        for counts, words in found:
            self._words[_ranges(places, counts)] = words
            places += counts
        for first, last in zip(starts.tolist(), places.tolist(), strict=True):
            self._words[first:last].sort()
        self.thresholds[rows] = thresholds
        self.starts[rows] = self.alive[rows] = starts
        self.stops[rows] = places

    def __len__(self) -> int:
        return len(self._words)

    def of(self, row: int) -> tuple[Rows, Doubles]:
        """The candidates of one list and their similarities."""
        return _unpacked(self._words[self.starts[row] : self.stops[row]])

    def of_many(self, rows: Rows) -> tuple[Rows, Rows, Doubles]:
        """Of what is alive: which of `rows` it is of, the candidates, their similarities."""
        lengths = self.stops[rows] - self.alive[rows]
        return (
            np.repeat(np.arange(len(rows)), lengths),
            *_unpacked(self._words[_ranges(self.alive[rows], lengths)]),
        )


class _Search:
    """Picks made so far, what they are worth to each row, and what each candidate would add."""

    def __init__(
        self, similarity: Similarity, worth: _Worth, reached: Doubles | None, kept_pairs: int
    ) -> None:
        num = len(similarity)
        self.similarity = similarity
        self.worth = worth
        self.begins_plainly = worth.is_plain and reached is None
        self.reached = np.zeros(num) if reached is None else on_sum_grid(reached)
        self.stands_for = np.full(num, -1, np.int64)
        self.picks: list[int] = []
        self._all = np.arange(num)
        self._gains = np.zeros(num)
        self._lock = threading.Lock()
        self._lists = _Lists(num, min(kept_pairs, num * num))
        self._floors = np.ones(num)  # what candidates outside its list are worth to a row at most

    def run(self, count: int) -> Doubles:
        """Picks `count` rows and returns their gains."""
        gains: list[float] = []
        if self.begins_plainly:
            gains.append(self._pick_plainly())
        if len(gains) < count:
            self._survey()
        while len(gains) < count:
            row = int(self._gains.argmax())
            gains.append(float(self._gains[row]))
            rows, old = self._raise(row)
            if len(gains) < count:
                self._take_off(rows, old)
        return np.array(gains)

    def _pick_plainly(self) -> float:
        """The first pick where gains are sums of similarities: a formula, or half of all pairs."""
        similarity = self.similarity
        if similarity.shape is half_cosine:
            bounds = similarity.column_sums() + similarity.column_sums_error
        else:
            bounds = similarity.sums_of_entries()

        def evaluate(rows: Rows) -> Doubles:
            return similarity.reduce(similarity.at(rows), lambda table, _: table.sum(axis=0))

        first = lazy_greedy(bounds, 1, evaluate, lambda _: None)
        self._raise(int(first.rows[0]))
        return float(first.gains[0])

    def _raise(self, row: int) -> tuple[Rows, Doubles]:
        """Picks a row; answers the rows it raises, and what they had before."""
        similarities = np.zeros(len(self._all))  # where it is worth no more
        candidates, listed = self._lists.of(row)
        similarities[candidates] = listed
        # Whoever may be raised by less than is on the list of the row.
        most = np.full(len(self._all), self._lists.thresholds[row])
        others = np.flatnonzero(self.worth(most, self._all) > self.reached)
        similarities[others] = self._column(row, others)
        worths = self.worth(similarities, self._all)
        rows = np.flatnonzero(worths > self.reached)
        old = self.reached[rows]
        self.reached[rows] = worths[rows]
        self.stands_for[rows] = len(self.picks)
        self.picks.append(row)
        self._gains[row] = _TAKEN
        return rows, old

    def _column(self, row: int, rows: Rows) -> Doubles:
        """Similarities of some rows to one."""
        similarity = self.similarity
        column = similarity.at(np.array([row]))
        parts = map_blocks(
            lambda block: similarity.table(similarity.at(rows[block]), column)[:, 0],
            len(rows),
            threads=similarity.threads,
        )
        return np.concatenate(parts) if parts else np.empty(0)

    def _take_off(self, rows: Rows, old: Doubles) -> None:
        """Takes off the gains what they had of `rows` between `old` and `reached`."""
        is_listed = self._floors[rows] <= old
        self._take_off_listed(rows[is_listed], old[is_listed])
        self._take_off_others(rows[~is_listed], old[~is_listed])

    def _take_off_listed(self, rows: Rows, old: Doubles) -> None:
        ends = np.cumsum(self._lists.stops[rows] - self._lists.alive[rows])
        num_parts = int(ends[-1]) // _ENTRIES_AT_ONCE + 1 if rows.size else 0
        cuts = np.searchsorted(ends, np.arange(1, num_parts) * _ENTRIES_AT_ONCE)
        for part in np.split(np.arange(len(rows)), cuts) if num_parts else ():
            some, reached = rows[part], self.reached[rows[part]]
            owners, candidates, similarities = self._lists.of_many(some)
            worths = self.worth(similarities, some[owners])
            # The least similar come first: those that no longer matter are a beginning.
            is_dead = worths <= reached[owners]
            self._lists.alive[some] += np.bincount(owners[is_dead], minlength=len(some))
            losses = _between(worths, old[part][owners], reached[owners])
            self._gains -= np.bincount(candidates, losses, minlength=len(self._all))

    def _take_off_others(self, rows: Rows, old: Doubles) -> None:
        for start in range(0, len(rows), _RAISED_AT_ONCE):
            some = rows[start : start + _RAISED_AT_ONCE]
            low, high = old[start : start + _RAISED_AT_ONCE], self.reached[some]
            self._take_off_table(some, low, high)

    def _take_off_table(self, rows: Rows, low: Doubles, high: Doubles) -> None:
        columns = self.similarity.at(rows)

        def of_block(block: slice) -> None:
            table = self.similarity.table(self.similarity.block(block), columns)
            losses = _between(self.worth(table, rows), low, high)
            self._gains[block] -= losses.sum(axis=1)

        map_blocks(of_block, len(self._all), threads=self.similarity.threads)

    def _survey(self) -> None:
        """Computes all gains, and writes down what may matter later, in one pass over all pairs."""
        thresholds = np.maximum(self._guess(), self.worth.invert(self.reached))

        def of_block(rows: slice) -> None:
            mine, gains, found = self.similarity.block(rows), np.empty(len(self._all)), []
            for start in range(0, len(self._all), _COLUMNS_AT_ONCE):
                columns = slice(start, min(start + _COLUMNS_AT_ONCE, len(self._all)))
                table = self.similarity.table(mine, self.similarity.block(columns))
                found.append(_found(table, thresholds[rows], start))
                more = self.worth(table, self._all[rows, None])
                more -= self.reached[rows, None]
                gains[columns] = np.maximum(more, 0.0, out=more).sum(axis=0)
            self._lists.fill(rows, thresholds[rows], found)
            with self._lock:  # exact sums, in whichever order
                self._gains += gains

        map_blocks(of_block, len(self._all), threads=self.similarity.threads)
        self._floors = self.worth(self._lists.thresholds, self._all)

    def _guess(self) -> Doubles:
        """For each row a similarity that as many candidates exceed as there is room for, (N,)."""
        num, room = len(self._all), len(self._lists)
        if room >= num**2:
            return np.zeros(num)
        sample = self._all[:: -(-num // _SAMPLE)]
        place = len(sample) - 1 - int(_PLANNED * room / num**2 * len(sample))
        return self.similarity.rowwise(
            self.similarity.at(sample), lambda table, _: np.partition(table, place)[:, place]
        )


def _between(worths: Doubles, low: Doubles, high: Doubles) -> Doubles:
    """What of each worth lies between `low` and `high`; overwrites `worths`."""
    np.minimum(worths, high, out=worths)
    worths -= low
    return np.maximum(worths, 0.0, out=worths)


def _ranges(starts: Rows, lengths: Rows) -> Rows:
    """``starts[0], starts[0] + 1, …`` of `lengths[0]`, then the same of the next."""
    ends = np.cumsum(lengths)
    places: Rows = np.repeat(starts - ends + lengths, lengths)
    places += np.arange(len(places))
    return places


def _found(table: Doubles, thresholds: Doubles, first: int) -> tuple[Rows, Words]:
    """How many entries of each row exceed its threshold, and these as words, row after row.

    Args:
        table: (n, k) similarities.
        thresholds: (n,).
        first: The candidate of the first column.
    """
    exceeds = table > thresholds[:, None]
    places = np.flatnonzero(exceeds)
    words = (table.ravel()[places] * SUM_UNITS).astype(np.uint64) << _PLACE_BITS
    words |= (places % table.shape[1] + first).astype(np.uint64)
    return np.count_nonzero(exceeds, axis=1), words


def _unpacked(words: Words) -> tuple[Rows, Doubles]:
    """The candidates and the similarities of words."""
    return (words & _PLACE).astype(np.int64), (words >> _PLACE_BITS) / SUM_UNITS
