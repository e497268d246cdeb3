from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from strategies import Candidates, StrategyError
from strategies.base import Doubles, Floats, Rows
from strategies.kernels import radius
from strategies.kernels.distances import Points
from strategies.kernels.radius import (
    Cover,
    Flags,
    RadiusGraph,
    UnitRows,
    pure_radius,
    radius_graph,
    rows_near,
    unit_rows,
)


def dense_squares(points: Points, others: Points) -> Doubles:
    """Squared distances between rows at unit length, by their differences; zero rows are at 1."""
    left, right = unit_rows(points), unit_rows(others)
    gaps = (left[:, None] - right).reshape(-1, left.shape[1])
    squares: Doubles = np.einsum("nd,nd->n", gaps, gaps).reshape(len(left), len(right))
    left_zero, right_zero = (np.abs(part).max(axis=1, initial=0) == 0 for part in (left, right))
    squares[left_zero[:, None] != right_zero] = 1
    return squares


def neighbours(graph: RadiusGraph) -> list[list[int]]:
    return [graph.neighbours(row).tolist() for row in range(len(graph))]


def dense_neighbours(points: Points, delta: float) -> list[list[int]]:
    near = dense_squares(points, points) < delta**2
    return [np.flatnonzero(row).tolist() for row in near]


def on_circle(degrees: list[float]) -> Floats:
    angles = np.deg2rad(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.deg2rad(degrees) / 2))


def hard_points(kind: str, num: int = 300, width: int = 8) -> Floats:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((num, width))
    if kind == "tight cones":
        points = 1e-3 * points + np.eye(width)[rng.integers(0, 3, num)]
    if kind == "few distinct":
        points = points[rng.integers(0, 20, num)]
    if kind == "zero rows":
        points[::4] = 0
    if kind == "huge":
        points *= 1e30
    if kind == "tiny":
        points *= 1e-30
    if kind == "lattice":
        points = rng.integers(-1, 2, (num, width)).astype(np.float64)
    return points.astype(np.float32)


KINDS = ["plain", "tight cones", "few distinct", "zero rows", "huge", "tiny", "lattice"]


def test_neighbours_on_a_circle_are_those_closer_than_the_chord() -> None:
    points = on_circle([0, 10, 20, 50, 60, 80])
    graph = radius_graph(UnitRows.of(points), 6, chord(15))
    assert neighbours(graph) == [[0, 1], [0, 1, 2], [1, 2], [3, 4], [3, 4], [5]]
    assert graph.pointers.dtype == np.int64
    assert graph.columns.dtype == np.int32


def test_a_pair_at_exactly_delta_is_no_pair() -> None:
    # Unrounded: the distance between the first two axes is the square root of 2, squared 2.
    points = np.eye(3, dtype=np.float32)[[0, 1, 0]]
    assert neighbours(radius_graph(UnitRows.of(points), 3, float(np.sqrt(2.0) - 2**-52)))[1] == [1]
    above = float(np.nextafter(np.sqrt(2.0), 2.0))
    assert neighbours(radius_graph(UnitRows.of(points), 3, above))[1] == [0, 1, 2]
    assert neighbours(radius_graph(UnitRows.of(points), 3, 1e-6)) == [[0, 2], [1], [0, 2]]


def test_a_row_of_zeros_is_at_distance_one_from_others_and_none_from_its_like() -> None:
    points = np.array([[0, 0], [3, 4], [0, 0], [-5, -12]], np.float32)
    assert neighbours(radius_graph(UnitRows.of(points), 4, 0.999)) == [[0, 2], [1], [0, 2], [3]]
    assert neighbours(radius_graph(UnitRows.of(points), 4, 1.001))[0] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantile", [0.02, 0.3, 0.9])
def test_equals_the_dense_graph_where_float32_misleads(kind: str, quantile: float) -> None:
    points = hard_points(kind)
    # A distance that occurs is the hardest radius: its own pair is out, others are near it.
    delta = float(np.sqrt(np.quantile(dense_squares(points, points), quantile, method="lower")))
    delta = max(delta, 1e-6)
    graph = radius_graph(UnitRows.of(points), len(points), delta)
    assert neighbours(graph) == dense_neighbours(points, delta)


@pytest.mark.parametrize("delta", [0.1, 0.5, 1.0, 1.9])
def test_equals_the_dense_graph_on_pools(pool: Candidates, delta: float) -> None:
    assert pool.embeddings is not None
    graph = radius_graph(UnitRows.of(pool.embeddings), len(pool), delta)
    assert neighbours(graph) == dense_neighbours(pool.embeddings, delta)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 3)),
        elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0]),
    ),
    st.floats(0.01, 2.5),
)
def test_the_graph_is_symmetric_with_every_row_in_its_own_ball(
    points: Floats, delta: float
) -> None:
    found = neighbours(radius_graph(UnitRows.of(points), len(points), delta))
    pairs = {(row, other) for row, others in enumerate(found) for other in others}
    assert pairs == {(other, row) for row, other in pairs}
    assert all((row, row) in pairs for row in range(len(points)))
    assert all(others == sorted(set(others)) for others in found)


@pytest.mark.parametrize("tile", [5, 64])
@pytest.mark.parametrize("kind", ["plain", "few distinct", "zero rows"])
def test_tiles_and_threads_change_nothing(
    kind: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = hard_points(kind, 150)
    labels = np.arange(150) % 4
    rows = UnitRows.of(points)
    whole, pure = radius_graph(rows, 120, 0.9), pure_radius(rows, labels, 0.8)
    near = rows_near(rows, 120, 0.9)
    monkeypatch.setattr(radius, "_TILE", tile)
    for threads in (1, 3):
        rows = UnitRows.of(points, threads=threads)
        graph = radius_graph(rows, 120, 0.9)
        assert graph.pointers.tolist() == whole.pointers.tolist()
        assert graph.columns.tolist() == whole.columns.tolist()
        assert pure_radius(rows, labels, 0.8) == pure
        assert rows_near(rows, 120, 0.9).tolist() == near.tolist()


def test_the_last_rows_of_a_pool_that_fills_no_tile_have_neighbours() -> None:
    num = 1024 + 209
    points = on_circle(np.linspace(0, 90, num).tolist())
    graph = radius_graph(UnitRows.of(points), num, chord(90 / (num - 1) * 1.5))
    assert neighbours(graph)[-1] == [num - 2, num - 1]
    assert neighbours(graph)[1023] == [1022, 1023, 1024]


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_double_precision_rows_of_any_size_have_a_direction(scale: float) -> None:
    points = hard_points("plain", 40).astype(np.float64)
    expected = neighbours(radius_graph(UnitRows.of(points), 40, 0.8))
    assert neighbours(radius_graph(UnitRows.of(points * scale), 40, 0.8)) == expected


def test_half_precision_files_give_the_graph_of_their_values(tmp_path: Path) -> None:
    points = hard_points("plain", 200).astype(np.float16)
    np.save(tmp_path / "rows.npy", points)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = neighbours(radius_graph(UnitRows.of(points.astype(np.float32)), 200, 0.8))
    assert neighbours(radius_graph(UnitRows.of(mapped), 200, 0.8)) == expected


def test_a_graph_with_too_many_edges_is_refused_with_a_way_out() -> None:
    rows = UnitRows.of(np.ones((40, 3), np.float32))
    radius_graph(rows, 40, 0.5, most_edges=1600)
    with pytest.raises(StrategyError, match=r"more than 1,599 .* lower delta, .* subsample"):
        radius_graph(rows, 40, 0.5, most_edges=1599)


def test_rows_are_near_where_any_of_the_others_is() -> None:
    points, others = on_circle([0, 10, 40, 200]), on_circle([12, 195])
    assert rows_near(UnitRows.of(points, others), 4, chord(6)).tolist() == [
        False,
        True,
        False,
        True,
    ]
    assert rows_near(UnitRows.of(points, others[:0]), 4, chord(6)).tolist() == [False] * 4


def test_nothing_to_be_near_may_have_any_width() -> None:
    rows = UnitRows.of(on_circle([0, 10]), np.empty((0, 5), np.float32))
    assert not rows_near(rows, 2, 1.0).any()


def dense_cover(near: Flags, covered: Flags) -> tuple[list[int], list[int]]:
    """The law written down plainly: count, take the best, cover."""
    is_open, rows, gains = ~covered, list[int](), list[int]()
    while is_open.any():
        degrees = (near & is_open).sum(axis=1)
        rows.append(int(degrees.argmax()))
        gains.append(int(degrees.max()))
        is_open &= ~near[rows[-1]]
    return rows, gains


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delta", [0.3, 0.7, 1.1])
def test_degrees_follow_what_is_covered(kind: str, delta: float) -> None:
    points = hard_points(kind, 120)
    covered = np.arange(120) % 5 == 0
    cover = Cover(radius_graph(UnitRows.of(points), 120, delta), covered)
    gains = []
    while cover.degrees.any():
        gains.append(cover.take(int(np.argmax(cover.degrees))))
    expected, expected_gains = dense_cover(dense_squares(points, points) < delta**2, covered)
    assert cover.picks == expected
    assert gains == expected_gains
    counts = np.bincount(cover.covered_by[~covered], minlength=len(gains))
    assert counts.tolist() == gains
    assert (cover.covered_by[covered] == -1).all()


def plain_pure_radius(points: Points, labels: Rows, share: float) -> float:
    """The largest delta that leaves enough balls pure, by trying every distance there is."""
    squares = dense_squares(points, points)
    other = labels[:, None] != labels
    nearest = np.sqrt(np.where(other, squares, np.inf).min(axis=1))
    wanted = int(np.ceil(share * len(points)))
    return float(np.clip(np.sort(nearest)[::-1][wanted - 1], 1e-6, 2.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_the_pure_radius_equals_the_one_found_by_trying(kind: str, share: float) -> None:
    points = hard_points(kind)
    labels = np.random.default_rng(0).integers(0, 4, 300)
    delta = pure_radius(UnitRows.of(points), labels, share)
    assert delta == pytest.approx(plain_pure_radius(points, labels, share), rel=1e-15)


def test_the_pure_radius_of_an_arc_by_hand() -> None:
    points, labels = on_circle([0, 10, 20, 50, 60, 80]), np.array([1, 1, 1, 0, 0, 2])
    # To the nearest of another label: 50, 40, 30 | 30, 20 | 20 degrees.
    rows = UnitRows.of(points)
    for share, degrees in ((0.1, 50), (0.3, 40), (0.5, 30), (0.6, 30), (0.7, 20), (1.0, 20)):
        assert pure_radius(rows, labels, share) == pytest.approx(chord(degrees), rel=1e-6)


def test_just_above_the_pure_radius_too_few_balls_are_pure() -> None:
    points = hard_points("plain")
    labels = np.random.default_rng(1).integers(0, 3, 300)
    delta = pure_radius(UnitRows.of(points), labels, 0.9)
    other = labels[:, None] != labels
    squares = dense_squares(points, points)

    def share_pure(radius: float) -> float:
        return float((~(other & (squares < radius**2)).any(axis=1)).mean())

    assert share_pure(delta * (1 - 1e-12)) >= 0.9 > share_pure(delta * (1 + 1e-12))


def test_with_one_label_every_ball_is_pure() -> None:
    rows = UnitRows.of(hard_points("plain", 30))
    assert pure_radius(rows, np.zeros(30, np.int64), 0.95) == 2.0


def test_equal_rows_with_different_labels_leave_a_ball_for_themselves() -> None:
    rows = UnitRows.of(np.ones((10, 3), np.float32))
    delta = pure_radius(rows, np.arange(10) % 2, 0.95)
    assert 0 < delta < 1e-5
