from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from strategies import Candidates
from strategies.base import Doubles, Floats
from strategies.kernels import blocks
from strategies.kernels.distances import Points
from strategies.kernels.kcentre import Bounds, k_centre, k_centre_onwards

NOTHING = np.empty((0, 2), np.float32)


def greedy_k_centre(points: Points, count: int, labelled: Points) -> tuple[list[int], Doubles]:
    """The law written down plainly: float64 differences, one pass a pick; ties by row."""
    pool = points.astype(np.float64)
    nearest = np.full(len(pool), np.inf)
    for centre in labelled.astype(np.float64):
        nearest = np.minimum(nearest, ((pool - centre) ** 2).sum(axis=1))
    if len(labelled) == 0:
        nearest = -((pool - pool.mean(axis=0)) ** 2).sum(axis=1)
    rows: list[int] = []
    distances = []
    for _ in range(count):
        row = int(nearest.argmax())
        distances.append(np.sqrt(abs(nearest[row])))
        if not rows and len(labelled) == 0:
            nearest = np.full(len(pool), np.inf)
        rows.append(row)
        nearest = np.minimum(nearest, ((pool - pool[row]) ** 2).sum(axis=1))
        nearest[rows] = -np.inf
    return rows, np.array(distances)


def test_four_corners_are_taken_before_the_middle() -> None:
    points = np.array([[0, 0], [4, 0], [2, 2.5], [4, 4], [0, 4]], np.float32)
    rows, distances = k_centre(points, 5, np.array([[0, 0]], np.float32))
    assert rows.tolist() == [3, 1, 4, 2, 0]
    np.testing.assert_allclose(distances, [np.sqrt(32), 4, 4, 2.5, 0])


def test_with_nothing_labelled_the_first_pick_is_nearest_the_mean() -> None:
    points = np.array([[0, 0], [9, 0], [4, 0], [2, 0]], np.float32)
    rows, distances = k_centre(points, 2, NOTHING)
    assert rows.tolist() == [2, 1]
    np.testing.assert_allclose(distances, [0.25, 5])


def test_labelling_a_twin_of_a_pick_takes_the_pick_away() -> None:
    points = np.array([[0, 0], [1, 0], [10, 0], [0, 7]], np.float32)
    labelled = points[:1]
    assert k_centre(points, 1, labelled)[0].tolist() == [2]
    assert k_centre(points, 1, points[[0, 2]])[0].tolist() == [3]


def test_equals_the_plain_algorithm(pool: Candidates) -> None:
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    count = len(pool)
    rows, distances = k_centre(pool.embeddings, count, pool.labelled_embeddings, window=8)
    expected, reached = greedy_k_centre(pool.embeddings, count, pool.labelled_embeddings)
    assert rows.tolist() == expected
    np.testing.assert_allclose(distances, reached, rtol=1e-12)


def hard_pool(kind: str, num: int) -> Floats:
    rng = np.random.default_rng(4)
    points = rng.standard_normal((num, 8))
    if kind == "tight clusters":
        points = 1e-3 * points + 1000 * rng.integers(0, 5, (num, 1))
    if kind == "offset":
        points += 3e4
    if kind == "outlier":
        points[17] = 1e6
    if kind == "grid":
        points = rng.integers(0, 3, (num, 8)).astype(np.float64)
    if kind == "few distinct":
        points = points[rng.integers(0, 40, num)]
    if kind == "huge":
        points *= 1e30
    if kind == "tiny":
        points *= 1e-30
    return points.astype(np.float32)


KINDS = ["tight clusters", "offset", "outlier", "grid", "few distinct", "huge", "tiny", "plain"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_labelled", [0, 30])
def test_equals_the_plain_algorithm_where_float32_misleads(kind: str, num_labelled: int) -> None:
    points = hard_pool(kind, 1500)
    labelled, points = points[:num_labelled], points[num_labelled:]
    rows, distances = k_centre(points, 150, labelled, window=32)
    expected, reached = greedy_k_centre(points, 150, labelled)
    assert rows.tolist() == expected
    np.testing.assert_allclose(distances, reached, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 25), st.integers(1, 3)),
        elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]),
    ),
    st.integers(1, 9),
    st.integers(0, 4),
)
def test_equals_the_plain_algorithm_on_lattices(
    points: Floats, window: int, num_labelled: int
) -> None:
    labelled = points[:num_labelled] + np.float32(0.5)
    rows, _ = k_centre(points, len(points), labelled, window=window)
    # Sums of these few binary fractions are exact, so ties are ties in any order of adding.
    expected, _ = greedy_k_centre(points, len(points), labelled)
    if num_labelled == 0:  # the mean is not exact: the rounding of its distances decides ties
        expected, _ = greedy_k_centre(points, len(points), points[rows[:1]])
        expected = [rows[0], *(row for row in expected if row != rows[0])]
    assert rows.tolist() == expected


@pytest.mark.parametrize("kind", ["plain", "tight clusters", "few distinct"])
def test_window_and_threads_change_nothing(kind: str) -> None:
    points = hard_pool(kind, 2500)
    whole = k_centre(points, 200, points[:5], threads=1)
    for window, threads in ((1, 1), (16, 2), (384, 7), (5000, 2)):
        rows, distances = k_centre(points, 200, points[:5], window=window, threads=threads)
        assert rows.tolist() == whole[0].tolist()
        assert distances.tolist() == whole[1].tolist()


@pytest.mark.parametrize("block_rows", [64, 4096])
@pytest.mark.parametrize("kind", ["plain", "tight clusters", "few distinct"])
def test_the_grid_of_blocks_changes_nothing(
    kind: str, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = hard_pool(kind, 2500)
    whole = k_centre(points, 200, points[:5])
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    rows, distances = k_centre(points, 200, points[:5])
    assert rows.tolist() == whole[0].tolist()
    assert distances.tolist() == whole[1].tolist()


def test_multiplying_by_a_power_of_two_scales_distances_exactly() -> None:
    points = hard_pool("plain", 800)
    rows, distances = k_centre(points, 60, points[:3])
    scaled_rows, scaled = k_centre(points * 1024, 60, points[:3] * 1024)
    assert scaled_rows.tolist() == rows.tolist()
    assert scaled.tolist() == (distances * 1024).tolist()


def test_a_first_row_that_is_given_comes_first_and_is_met() -> None:
    points = np.array([[0, 0], [9, 0], [4, 0], [2, 0]], np.float32)
    rows, distances = k_centre(points, 4, NOTHING, first=1)
    assert rows.tolist() == [1, 0, 2, 3]
    np.testing.assert_allclose(distances, [0, 9, 4, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_bounds_equals_starting_afresh(kind: str) -> None:
    points = hard_pool(kind, 900)
    labelled, points = points[:40], points[40:]
    rows, distances, bounds = k_centre_onwards(points, 60, labelled, window=16)
    left = np.delete(np.arange(len(points)), rows)
    centres = np.concatenate([labelled, points[rows]])
    remaining = Bounds(bounds.squares[left], bounds.num_met[left])
    more, farther, _ = k_centre_onwards(points[left], 60, centres, bounds=remaining, window=16)
    whole, reached = k_centre(points, 120, labelled)
    assert [*rows.tolist(), *left[more].tolist()] == whole.tolist()
    assert [*distances.tolist(), *farther.tolist()] == reached.tolist()


@pytest.mark.parametrize("kind", ["plain", "few distinct", "tight clusters"])
def test_any_true_bounds_lead_to_the_same_picks(kind: str) -> None:
    points = hard_pool(kind, 300)
    labelled, points = points[:50], points[50:]
    expected, reached = k_centre(points, 80, labelled)
    rng = np.random.default_rng(0)
    order = rng.permutation(50)
    for slack in (0.0, 1e-3, 10.0):
        num_met = rng.integers(1, 51, len(points)).astype(np.int32)
        squares = np.array(
            [
                min(((row - labelled[c].astype(np.float64)) ** 2).sum() for c in order[:num])
                for row, num in zip(points.astype(np.float64), num_met, strict=True)
            ]
        )
        bounds = Bounds(squares * (1 + slack * rng.random(len(points))), num_met)
        rows, distances, _ = k_centre_onwards(points, 80, labelled, bounds=bounds, order=order)
        assert rows.tolist() == expected.tolist()
        assert distances.tolist() == reached.tolist()


@pytest.mark.parametrize("kind", ["plain", "few distinct", "offset"])
def test_half_precision_files_are_taken_by_their_values(kind: str, tmp_path: Path) -> None:
    halves: Any = (hard_pool(kind, 1500) / 2).astype(np.float16)
    np.save(tmp_path / "rows.npy", halves)
    on_disk = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = k_centre(halves[100:].astype(np.float32), 200, halves[:100].astype(np.float32))
    for points in (halves, on_disk):
        rows, distances = k_centre(points[100:], 200, points[:100])
        assert rows.tolist() == expected[0].tolist()
        assert distances.tolist() == expected[1].tolist()


def test_a_mapped_pool_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    num, width = 60_000, 256
    points: Any = np.lib.format.open_memmap(
        tmp_path / "rows.npy", mode="w+", dtype=np.float16, shape=(num, width)
    )
    rng = np.random.default_rng(0)
    for start in range(0, num, 4096):
        points[start : start + 4096] = rng.standard_normal(points[start : start + 4096].shape)
    points = np.load(tmp_path / "rows.npy", mmap_mode="r")
    tracemalloc.start()
    k_centre(points, 20, points[:10], window=64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * num * width / 2  # half of the file, which is half of float32
