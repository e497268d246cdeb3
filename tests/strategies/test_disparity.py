from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import build_pool

from strategies import Candidates, QueryStrategy, Selection
from strategies.base import Doubles, Floats, Rows
from strategies.disparity import DisparityMin, DisparitySum, farthest_in_sum
from strategies.kernels.exact import exact_rows, on_sum_grid
from strategies.kernels.radius import unit_rows


def on_circle(degrees: list[float]) -> Floats:
    angles = np.deg2rad(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def apart(degrees: float) -> float:
    """(1 - cosine) / 2."""
    return float(np.sin(np.deg2rad(degrees) / 2) ** 2)


def ask(strategy: QueryStrategy, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def on_arc(degrees: list[float], labelled: list[float] | None = None) -> Candidates:
    return Candidates(
        ids=np.arange(len(degrees)),
        embeddings=on_circle(degrees),
        labelled_embeddings=on_circle(labelled or []).reshape(-1, 2),
    )


def test_the_least_distance_is_kept_large() -> None:
    # 120 degrees is farthest from all in the mean, then 0; 50 lies 50 degrees from 0.
    batch = ask(DisparityMin(), on_arc([0, 10, 50, 100, 120]), 5)
    assert batch.ids.tolist() == [4, 0, 2, 3, 1]
    expected = [apart(120), apart(50), apart(20), apart(10)]
    np.testing.assert_allclose(batch.scores[1:], expected, rtol=1e-5)
    mean = np.mean([apart(120 - other) for other in (0, 10, 50, 100, 120)])
    assert batch.scores[0] == pytest.approx(mean, rel=1e-5)


def test_the_sum_of_distances_is_kept_large_twins_or_not() -> None:
    # After 120 and 0 degrees: 0.68 of 10 degrees, 0.51 of 50, 0.62 of 100.
    batch = ask(DisparitySum(), on_arc([0, 10, 50, 100, 120]), 4)
    assert batch.ids.tolist()[:3] == [4, 0, 1]
    third = apart(10) + apart(110)
    np.testing.assert_allclose(batch.scores[1:3], [apart(120), third], rtol=1e-5)


def test_labelled_samples_count_as_picked_where_asked() -> None:
    pool = on_arc([0, 10, 50, 100, 120], labelled=[118, 5])
    assert ask(DisparityMin(given_labelled=True), pool, 2).ids.tolist() == [2, 3]
    batch = ask(DisparitySum(given_labelled=True), pool, 1)
    assert batch.scores[0] == pytest.approx(
        max(apart(118 - d) + apart(d - 5) for d in (0, 10, 50, 100, 120)), rel=1e-5
    )
    assert ask(DisparityMin(), pool, 2).ids.tolist() == [4, 0]


@pytest.mark.parametrize("given_labelled", [False, True])
def test_needs_name_the_labelled_samples_only_where_they_count(given_labelled: bool) -> None:
    for cls in (DisparityMin, DisparitySum):
        strategy = cls(given_labelled=given_labelled)
        assert ("labelled_embeddings" in strategy.needs) == given_labelled


def plain_first(points: Floats) -> int:
    """The row with the largest mean distance to all, of equals the first."""
    units = unit_rows(points)
    products = np.einsum("nd,d->n", units, units.mean(axis=0))
    return int(np.round(products, 9).argmin())


def chosen(distances: Doubles, start: list[Doubles], first: int | None, *, by_sum: bool) -> Rows:
    """Greedy dispersion written down plainly over a table of distances, (N, N)."""
    num = len(distances)
    rows = [] if first is None else [first]
    while len(rows) < num:
        met = np.array([*start, *(distances[row] for row in rows)])
        scores = met.sum(axis=0) if by_sum else met.min(axis=0)
        scores[rows] = -1
        rows.append(int(scores.argmax()))
    return np.array(rows)


def exact_table(points: Floats, others: Floats) -> Doubles:
    """(1 - cosine) / 2 as the strategy rounds it, so that ties are ties."""
    table = exact_rows(points, unit=True).squared_distances(exact_rows(others, unit=True))
    return on_sum_grid(table / 4)


def single_table(points: Floats, others: Floats) -> Doubles:
    """The same from differences of float32 unit rows."""
    left, right = (unit_rows(part).astype(np.float32).astype(float) for part in (points, others))
    gaps = (left[:, None] - right).reshape(-1, points.shape[1])
    squares: Doubles = np.einsum("nd,nd->n", gaps, gaps).reshape(len(points), len(others))
    return squares / 4


@pytest.mark.parametrize("given_labelled", [False, True])
@pytest.mark.parametrize("by_sum", [False, True])
def test_equals_the_plain_algorithm(pool: Candidates, by_sum: bool, given_labelled: bool) -> None:
    points, labelled = pool.embeddings, pool.labelled_embeddings
    assert points is not None
    assert labelled is not None
    cls = DisparitySum if by_sum else DisparityMin
    batch = ask(cls(given_labelled=given_labelled), pool, len(pool))
    table = exact_table if by_sum else single_table
    start = list(table(labelled, points)) if given_labelled else []
    first = None if start else plain_first(points)
    expected = chosen(table(points, points), start, first, by_sum=by_sum)
    assert (batch.ids - pool.ids[0]).tolist() == expected.tolist()


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 25), st.integers(1, 3)),
        elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0]),
    )
)
def test_the_score_is_what_the_batch_gains(points: Floats) -> None:
    pool = Candidates(ids=np.arange(len(points)), embeddings=points)
    table = exact_table(points, points)
    for strategy in (DisparityMin(), DisparitySum()):
        batch = ask(strategy, pool, len(points))
        assert sorted(batch.ids.tolist()) == list(range(len(points)))
        for k in range(1, len(points)):
            met = table[batch.ids[k], batch.ids[:k]]
            gain = met.sum() if strategy.name == "disparity_sum" else met.min()
            assert batch.scores[k] == pytest.approx(gain, abs=1e-6)
    by_min = ask(DisparityMin(), pool, len(points)).scores[1:]
    assert (np.diff(by_min) <= 0).all()


def test_twins_are_asked_for_by_the_least_distance_only_at_the_end() -> None:
    pool = build_pool("duplicates")  # seven different rows
    assert pool.embeddings is not None
    batch = ask(DisparityMin(), pool, 60)
    distinct = pool.embeddings[batch.ids[:7] - pool.ids[0]]
    assert len(np.unique(distinct, axis=0)) == 7
    assert (batch.scores[:7] > 0).all()
    assert (batch.scores[7:] == 0).all()
    assert (np.diff(batch.ids[7:]) > 0).all()  # all at distance 0: by id


@pytest.mark.parametrize("kind", ["spread", "clusters", "duplicates", "all_equal", "zero_rows"])
def test_how_many_distances_are_made_at_once_changes_nothing(kind: str) -> None:
    points = build_pool(kind, num=150).embeddings
    assert points is not None
    rows, sums = farthest_in_sum(points, 150, points[:0], 3)
    for most in (1, 2, 1000):
        again, sums_again = farthest_in_sum(points, 150, points[:0], 3, most_columns=most)
        assert again.tolist() == rows.tolist()
        assert sums_again.tolist() == sums.tolist()


@pytest.mark.parametrize("cls", [DisparityMin, DisparitySum])
def test_length_has_no_part(cls: type[DisparityMin] | type[DisparitySum]) -> None:
    pool = build_pool("spread")
    assert pool.embeddings is not None
    lengths = 2.0 ** np.random.default_rng(0).integers(-20, 20, (60, 1))
    stretched = replace(pool, embeddings=(pool.embeddings * lengths).astype(np.float32))
    assert ask(cls(), stretched, 60).ids.tolist() == ask(cls(), pool, 60).ids.tolist()


def test_a_row_of_zeros_is_a_quarter_away_from_others_from_the_first_pick_on() -> None:
    points = np.array([[0, 0], [1, 0], [1, 0.1], [-0.2, 1], [1, -0.1]], np.float32)
    pool = Candidates(ids=np.arange(5), embeddings=points)
    batch = DisparitySum().select(pool, 1, np.random.default_rng(0))
    units = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    apart = ((units[:, None] - units[None]) ** 2).sum(axis=2).mean(axis=1) / 4
    assert batch.ids.tolist() == [3]
    np.testing.assert_allclose(batch.scores, [apart[3]], rtol=1e-6)
