from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from information import assert_is_greedy, greedy, log_det, world_of
from pools import build_pool
from pydantic import ValidationError

from strategies import Candidates, Selection
from strategies.log_det import LogDet

SPACES = ["embeddings", "gradients"]


def members(batch: Selection) -> list[int]:
    return [int(number) - 100 for number in batch.ids]


def test_the_second_pick_points_away_from_the_first() -> None:
    points = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0.2]], np.float32)
    pool = Candidates(ids=np.array(["a", "b", "c", "d"]), embeddings=points)
    batch = LogDet(ridge=0.1).select(pool, 2, np.random.default_rng(0))
    assert batch.ids.tolist() == ["a", "d"]
    # Heights: 1 + λ, and (1 + λ) - s² / (1 + λ) for the similarity s of a and d.
    s = (1 - 1 / np.sqrt(1.04)) / 2
    np.testing.assert_allclose(batch.scores, np.log([1.1, 1.1 - s**2 / 1.1]), atol=1e-7)


def test_the_scores_add_up_to_the_determinant() -> None:
    pool = build_pool("spread")
    batch = LogDet().select(pool, 20, np.random.default_rng(0))
    world = world_of(pool, [])
    assert abs(batch.scores.sum() - log_det(world, 1.0)(members(batch))) < 1e-9


@pytest.mark.parametrize("space", SPACES)
def test_equals_greedy_by_dense_determinants(space: str) -> None:
    pool = build_pool("spread")
    batch = LogDet.model_validate({"space": space, "ridge": 0.2}).select(
        pool, 15, np.random.default_rng(0)
    )
    rows, gains = greedy(log_det(world_of(pool, [], space=space), 0.2), len(pool), 15)
    assert members(batch) == rows
    np.testing.assert_allclose(batch.scores, gains, atol=1e-9)


@pytest.mark.parametrize("space", SPACES)
def test_every_pick_adds_most_on_hard_pools(pool: Candidates, space: str) -> None:
    count = min(8, len(pool))
    batch = LogDet.model_validate({"space": space}).select(pool, count, np.random.default_rng(0))
    f = log_det(world_of(pool, [], space=space), 1.0)
    assert_is_greedy(f, len(pool), np.array(members(batch)), batch.scores)


def test_copies_come_in_order_of_their_ids() -> None:
    batch = LogDet().select(build_pool("all_equal"), 60, np.random.default_rng(0))
    assert batch.ids.tolist() == list(range(100, 160))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-3, 0.3, 5.0]))
def test_scores_fall_and_the_length_of_rows_does_not_matter(seed: int, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((20, 4)).astype(np.float32)
    lengths = 2.0 ** rng.integers(-5, 6, (20, 1)).astype(np.float32)
    pools = [Candidates(ids=np.arange(20), embeddings=rows) for rows in (points, points * lengths)]
    batches = [LogDet(ridge=ridge).select(pool, 20, rng) for pool in pools]
    assert (np.diff(batches[0].scores) <= 0).all()
    assert batches[0].ids.tolist() == batches[1].ids.tolist()


def test_a_ridge_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.000001"):
        LogDet(ridge=0)
