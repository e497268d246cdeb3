"""One class on a line: stretches between labels that differ, and what lies beside cuts."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.kernels.lines import Found, Line

OPEN = -1


def written(text: str) -> Line:
    """A line as text: + for a label of the class, - for another, . for none."""
    return Line(np.array([{"-": 0, "+": 1, ".": OPEN}[sign] for sign in text], np.int8))


def plain_stretch(labels: list[int]) -> Found | None:
    """Every pair of neighbouring labels; the shortest stretch, of equals the higher."""
    known = [place for place, label in enumerate(labels) if label != OPEN]
    options = [
        (high - low - 1, -low)
        for low, high in pairwise(known)
        if labels[low] != labels[high] and high - low > 1
    ]
    if not options:
        return None
    gap, minus_low = min(options)
    half = gap // 2 + 1
    return Found(gap, half - minus_low, half)


def reach(labels: list[int], place: int) -> int | None:
    """The way to the farther of the nearest label of either kind."""
    ways = [
        [abs(place - other) for other, label in enumerate(labels) if label == kind]
        for kind in (0, 1)
    ]
    return max(map(min, ways)) if all(ways) else None


def plain_beside(labels: list[int]) -> Found | None:
    """Every open place; the least way to the farther label, of equals the highest place."""
    options = [
        (way, -place)
        for place, label in enumerate(labels)
        if label == OPEN and (way := reach(labels, place)) is not None
    ]
    if not options:
        return None
    way, minus_place = min(options)
    return Found(way, -minus_place, way)


def paths(labels: list[int], start: int, longest: int) -> list[list[int]]:
    """Shortest paths from a label 0 to labels 1 where places up to `longest` apart are joined.

    Two labels that differ are not joined; on the way there are open places only.
    """
    queue, seen, ended = deque([[start]]), {start}, []
    while queue:
        path = queue.popleft()
        first, last = max(path[-1] - longest, 0), min(path[-1] + longest, len(labels) - 1)
        for place in range(first, last + 1):
            if labels[place] == 1 and labels[path[-1]] == OPEN:
                ended.append([*path, place])
            elif labels[place] == OPEN and place not in seen:
                seen.add(place)
                queue.append([*path, place])
    return ended


def where_longer_edges_lead(labels: list[int]) -> tuple[int, set[int]] | None:
    """The search on graphs with ever longer edges (Zhang et al. 2022), where no stretch is left.

    The least length of edges with a path between labels that differ, and the middles of the
    shortest.
    """
    starts = [place for place, label in enumerate(labels) if label == 0]
    for longest in range(1, len(labels)):
        found = [path for start in starts for path in paths(labels, start, longest)]
        if found:
            fewest = min(map(len, found))
            assert fewest == 3
            return longest, {path[1] for path in found if len(path) == fewest}
    return None


def test_the_middle_of_the_shortest_stretch_is_asked_for() -> None:
    assert written("-.....+...-").stretch() == Found(3, 8, 2)


def test_of_two_middles_the_upper_is_asked_for() -> None:
    assert written("-..+").stretch() == Found(2, 2, 2)


def test_of_equal_stretches_the_higher_is_asked_for() -> None:
    assert written("-.+.-").stretch() == Found(1, 3, 1)


def test_labels_that_agree_leave_nothing_to_halve() -> None:
    assert written("-...-").stretch() is None
    assert written(".....").stretch() is None


def test_a_label_splits_a_stretch() -> None:
    line = written("-.....+")
    line.label(3, is_class=False)
    assert line.stretch() == Found(2, 5, 2)
    line.label(5, is_class=True)
    assert line.stretch() == Found(1, 4, 1)
    line.label(4, is_class=True)
    assert line.stretch() is None


def test_both_sides_of_a_cut_are_asked_for_in_turn() -> None:
    line = written("...-+...")
    asked = []
    for _ in range(6):
        found = line.beside_cut()
        assert found is not None
        asked.append((found.place, found.length))
        line.label(found.place, is_class=found.place > 3)
    assert asked == [(5, 2), (2, 2), (6, 3), (1, 3), (7, 4), (0, 4)]
    assert line.beside_cut() is None


def test_without_labels_of_both_kinds_there_is_no_cut() -> None:
    assert written("..+.+.").beside_cut() is None


LABELS = st.lists(st.sampled_from([OPEN, OPEN, OPEN, 0, 1]), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None)
@given(LABELS, st.lists(st.booleans(), min_size=14, max_size=14))
def test_equals_looking_at_every_place_whatever_is_answered(
    labels: list[int], answers: list[bool]
) -> None:
    line = Line(np.array(labels, np.int8))
    for answer in answers:
        found = line.stretch()
        assert found == plain_stretch(labels)
        if found is None:
            found = line.beside_cut()
            assert found == plain_beside(labels)
        if found is None:
            return
        assert found.reach == reach(labels, found.place)
        line.label(found.place, is_class=answer)
        labels = [*labels[: found.place], int(answer), *labels[found.place + 1 :]]


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_beside_a_cut_is_where_longer_edges_would_lead(labels: list[int]) -> None:
    line = Line(np.array(labels, np.int8))
    while (stretch := line.stretch()) is not None:
        line.label(stretch.place, is_class=True)
        labels[stretch.place] = 1
    found, expected = line.beside_cut(), where_longer_edges_lead(labels)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found.length == expected[0]
        assert found.place in expected[1]


@pytest.mark.parametrize("seed", range(3))
def test_long_lines_with_labels_at_places_chosen_by_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels: list[int] = rng.choice([OPEN, 0, 1], 300, p=[0.9, 0.05, 0.05]).tolist()
    line = Line(np.array(labels, np.int8))
    while OPEN in labels:
        found = line.stretch() or line.beside_cut()
        assert found == (plain_stretch(labels) or plain_beside(labels))
        open_places = [place for place, label in enumerate(labels) if label == OPEN]
        place = int(rng.choice(open_places))
        if found is not None and rng.random() < 0.5:
            place = found.place
        labels[place] = int(rng.integers(0, 2))
        line.label(place, is_class=labels[place] == 1)
