from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import POOLS, build_pool

from strategies import Candidates, Selection, StrategyError
from strategies.base import Doubles, Floats, Rows
from strategies.kernels import radius
from strategies.kernels.kmeans import k_means, pool_of
from strategies.kernels.radius import UnitRows, pure_radius, unit_rows
from strategies.prob_cover import ProbCover


def on_circle(degrees: list[float]) -> Floats:
    angles = np.deg2rad(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.deg2rad(degrees) / 2))


def candidates(embeddings: Floats, labelled: Floats | None = None) -> Candidates:
    if labelled is None:
        labelled = np.empty((0, embeddings.shape[1]), np.float32)
    return Candidates(
        ids=np.arange(len(embeddings)), embeddings=embeddings, labelled_embeddings=labelled
    )


def ask(strategy: ProbCover, pool: Candidates, batch_size: int, seed: int = 0) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(seed))


def squares_between(left: Doubles, right: Doubles) -> Doubles:
    gaps = (left[:, None] - right).reshape(-1, left.shape[1])
    squares: Doubles = np.einsum("nd,nd->n", gaps, gaps).reshape(len(left), len(right))
    left_zero, right_zero = (np.abs(part).max(axis=1, initial=0) == 0 for part in (left, right))
    squares[left_zero[:, None] != right_zero] = 1
    return squares


def plain_prob_cover(
    pool: Candidates, batch_size: int, delta: float
) -> tuple[list[int], list[int], list[int]]:
    """The law written down plainly: rows, what each newly covered, and who covered each."""
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    points, labelled = unit_rows(pool.embeddings), unit_rows(pool.labelled_embeddings)
    near = squares_between(points, points) < delta**2
    is_open = ~(squares_between(points, labelled) < delta**2).any(axis=1)
    covered_by = np.full(len(points), -1)
    rows, gains = list[int](), list[int]()
    while len(rows) < batch_size and is_open.any():
        degrees = (near & is_open).sum(axis=1)
        row = int(degrees.argmax())
        covered_by[near[row] & is_open] = len(rows)
        is_open &= ~near[row]
        rows.append(row)
        gains.append(int(degrees[row]))
    rows += plain_k_centre(points, labelled, rows, batch_size - len(rows))
    return rows, gains + [0] * (batch_size - len(gains)), covered_by.tolist()


def plain_k_centre(points: Doubles, labelled: Doubles, rows: list[int], count: int) -> list[int]:
    """Greedy k-centre after `rows`, on rows rounded to float32 as they are kept."""
    points, labelled = (part.astype(np.float32).astype(np.float64) for part in (points, labelled))
    centres = np.concatenate([labelled, points[rows]])
    more: list[int] = []
    for _ in range(count):
        gaps = points[:, None] - np.concatenate([centres, points[more]])
        nearest = np.einsum("abd,abd->ab", gaps, gaps).min(axis=1)
        nearest[rows + more] = -1
        more.append(int(nearest.argmax()))
    return more


def test_balls_on_a_circle_are_taken_by_how_much_they_newly_cover() -> None:
    pool = candidates(on_circle([0, 10, 20, 25, 100, 111, 200]))
    batch = ask(ProbCover(delta=chord(12)), pool, 7)
    # 10 and 20 would cover three, and the former comes first; 100 covers itself and 111; 20 and 25
    # would cover 25. What is then left lies 10, 5 and 11 degrees from a pick.
    assert batch.ids.tolist() == [1, 4, 2, 6, 5, 0, 3]
    assert batch.scores.tolist() == [3, 2, 1, 1, 0, 0, 0]
    assert batch.notes == {"coverage_picks": 4, "delta": chord(12)}
    assert batch.maps["stands_for"].tolist() == [0, 0, 0, 2, 1, 1, 3]


def test_what_is_near_a_labelled_sample_needs_no_cover() -> None:
    pool = candidates(on_circle([0, 10, 20, 25, 100, 111, 200]), on_circle([18]))
    batch = ask(ProbCover(delta=chord(12)), pool, 3)
    assert batch.ids.tolist() == [4, 0, 6]
    assert batch.maps["stands_for"].tolist() == [1, -1, -1, -1, 0, 0, 2]


def test_length_has_no_part() -> None:
    points = on_circle([0, 10, 20, 25, 100, 111, 200])
    lengths = np.array([1, 1e-20, 7, 1e20, 3, 0.1, 2], np.float32)[:, None]
    straight = ask(ProbCover(delta=chord(12)), candidates(points), 7)
    assert ask(ProbCover(delta=chord(12)), candidates(points * lengths), 7).ids.tolist() == (
        straight.ids.tolist()
    )


@pytest.mark.parametrize("delta", [0.05, 0.4, 0.8, 1.3, 2.5])
def test_equals_the_plain_algorithm(pool: Candidates, delta: float) -> None:
    batch = ask(ProbCover(delta=delta), pool, len(pool))
    rows, gains, covered_by = plain_prob_cover(pool, len(pool), delta)
    assert (batch.ids - pool.ids[0]).tolist() == rows
    assert batch.scores.tolist() == gains
    assert batch.maps["stands_for"].tolist() == covered_by
    assert batch.notes["coverage_picks"] == np.count_nonzero(gains)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 6), st.floats(0.05, 2.2))
def test_each_pick_covers_no_more_than_the_one_before(
    seed: int, num: int, num_labelled: int, delta: float
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((num + num_labelled, 4)).astype(np.float32)
    pool = candidates(points[:num], points[num:])
    batch = ask(ProbCover(delta=delta), pool, num)
    assert (np.diff(batch.scores) <= 0).all()
    assert sorted(batch.ids.tolist()) == list(range(num))
    covered = np.asarray(batch.maps["stands_for"], np.int64) >= 0
    assert batch.scores.sum() == covered.sum()  # whatever no label covers, a pick does
    if num_labelled == 0:
        assert covered.all()


def found_delta(pool: Candidates, strategy: ProbCover, seed: int = 0) -> float:
    """The radius by its definition, from the clusters that the strategy draws."""
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    rng = np.random.default_rng(seed)
    rng.integers(0, 2**64, dtype=np.uint64)  # the fallback's key comes first
    rows = UnitRows.of(pool.embeddings, pool.labelled_embeddings)
    labels = k_means(pool_of(rows.singles, unit=True), strategy.purity_classes, rng).labels
    return pure_radius(rows, labels, strategy.purity)


@pytest.mark.parametrize("kind", ["spread", "clusters", "duplicates", "nothing_labelled"])
def test_without_a_delta_the_largest_pure_one_is_found_and_noted(kind: str) -> None:
    pool, strategy = build_pool(kind), ProbCover()
    batch = ask(strategy, pool, 10)
    assert batch.notes["delta"] == found_delta(pool, strategy)
    given = ask(ProbCover(delta=found_delta(pool, strategy)), pool, 10)
    assert batch.ids.tolist() == given.ids.tolist()


def test_the_delta_of_separate_clusters_is_the_gap_between_them() -> None:
    arcs: Rows = np.concatenate([np.arange(0, 20), np.arange(90, 110)])
    pool = candidates(on_circle(arcs.tolist()))
    batch = ask(ProbCover(purity_classes=2, purity=1.0), pool, 3)
    # From 19 to 90 degrees; balls of 71 degrees cover an arc each.
    assert batch.notes["delta"] == pytest.approx(chord(71), rel=1e-6)
    assert batch.scores.tolist() == [20, 20, 0]


@pytest.mark.parametrize("kind", ["one_item", "all_equal"])
def test_where_all_samples_are_one_cluster_one_pick_covers_them(kind: str) -> None:
    points = build_pool(kind).embeddings
    assert points is not None
    pool = candidates(points)
    batch = ask(ProbCover(purity_classes=1), pool, 1)
    assert batch.notes == {"coverage_picks": 1, "delta": 2.0}
    assert batch.scores.tolist() == [len(pool)]


def test_the_fallback_at_random_is_keyed_by_id() -> None:
    pool, strategy = build_pool("nothing_labelled"), ProbCover(delta=1.2, fallback="random")
    batch = ask(strategy, pool, 60, seed=1)
    num = int(np.count_nonzero(batch.scores))
    assert 0 < num < 20
    rest = batch.ids[num:].tolist()
    assert ask(strategy, pool, 60, seed=2).ids[num:].tolist() != rest
    # Without a sample that neither covers nor is asked for early, the others keep their order.
    gone = rest[-1]
    fewer = pool.take(np.flatnonzero(pool.ids != gone))
    assert ask(strategy, fewer, 59, seed=1).ids[num:].tolist() == rest[:-1]


@pytest.mark.parametrize("fallback", ["coreset", "random"])
@pytest.mark.parametrize("kind", POOLS)
def test_a_smaller_batch_is_a_prefix_with_either_fallback(kind: str, fallback: str) -> None:
    pool = build_pool(kind)
    strategy = ProbCover.model_validate({"delta": 0.9, "fallback": fallback})
    whole = ask(strategy, pool, len(pool)).ids.tolist()
    for batch_size in range(1, len(pool), 11):
        assert ask(strategy, pool, batch_size).ids.tolist() == whole[:batch_size]


def test_a_pool_with_too_many_neighbours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(radius, "MOST_EDGES", 100)
    with pytest.raises(StrategyError, match="lower delta"):
        ask(ProbCover(delta=2.5), build_pool("spread"), 1)
