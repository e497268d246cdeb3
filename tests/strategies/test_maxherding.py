from __future__ import annotations

import numpy as np
import plainly
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Selection
from strategies.base import Doubles
from strategies.maxherding import MaxHerding


def select(strategy: MaxHerding, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def test_a_direction_nobody_covers_is_worth_one_for_each_candidate_there() -> None:
    points = np.array([[1, 0], [0, 1], [0, 2], [3, 0], [-1, 0]], np.float32)
    labelled = np.array([[7, 0]], np.float32)
    pool = Candidates(ids=np.arange(5), embeddings=points, labelled_embeddings=labelled)
    batch = select(MaxHerding(width=0.1), pool, 5)
    assert batch.ids.tolist() == [1, 4, 0, 2, 3]
    np.testing.assert_allclose(batch.scores, [2, 1, 0, 0, 0], atol=1e-9)
    assert batch.maps["stands_for"].tolist() == [2, 0, 3, 4, 1]
    assert batch.notes["coverage"] == pytest.approx(1)


def test_a_right_angle_is_covered_by_what_its_distance_leaves() -> None:
    points = np.array([[1, 0], [0, 1]], np.float32)
    pool = Candidates(ids=np.arange(2), embeddings=points, labelled_embeddings=points[:0])
    # The squared distance is 2.
    expected = [1 + np.exp(-2 / 1.5**2), 1 - np.exp(-2 / 1.5**2)]
    np.testing.assert_allclose(select(MaxHerding(width=1.5), pool, 2).scores, expected, atol=1e-8)


@pytest.mark.parametrize("width", [0.3, 1.0])
def test_equals_the_plain_algorithm(pool: Candidates, width: float) -> None:
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    table = plainly.gaussians(pool.embeddings, pool.embeddings, width)
    labelled = plainly.gaussians(pool.embeddings, pool.labelled_embeddings, width)
    gains = plainly.coverage_gains(table, plainly.nearest(labelled))
    rows, scores = plainly.greedy(gains, len(pool))
    batch = select(MaxHerding(width=width), pool, len(pool))
    assert batch.ids.tolist() == pool.ids[rows].tolist()
    np.testing.assert_allclose(batch.scores, scores, atol=1e-9)


@given(seed=st.integers(0, 10**6), num_labelled=st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_the_sum_over_labelled_samples_adds_nothing(seed: int, num_labelled: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((50, 6)).astype(np.float32)
    candidates, labelled = points[num_labelled:], points[:num_labelled]
    table = plainly.gaussians(points, points, 1.0)  # of all, the labelled ones first
    reached = plainly.nearest(table[:, :num_labelled])
    gains = plainly.coverage_gains(table, reached)

    def of_candidates(picks: list[int]) -> Doubles:
        return gains([row + num_labelled for row in picks])[num_labelled:]

    rows, scores = plainly.greedy(of_candidates, 20)
    ids = np.arange(len(candidates))
    pool = Candidates(ids=ids, embeddings=candidates, labelled_embeddings=labelled)
    batch = select(MaxHerding(), pool, 20)
    assert batch.ids.tolist() == rows
    np.testing.assert_allclose(batch.scores, scores, atol=1e-6)
