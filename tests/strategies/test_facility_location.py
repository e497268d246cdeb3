from __future__ import annotations

from dataclasses import replace

import numpy as np
import plainly
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool

from strategies import Candidates, Selection
from strategies.facility_location import FacilityLocation


def select(strategy: FacilityLocation, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def test_the_larger_of_two_groups_is_represented_first() -> None:
    points = np.array([[0, 1], [5, 0], [1, 0], [0, 2], [0, 3]], np.float32)
    pool = Candidates(ids=np.array([*"abcde"]), embeddings=points)
    batch = select(FacilityLocation(), pool, 2)
    assert batch.ids.tolist() == ["a", "b"]
    assert batch.scores.tolist() == [3 + 2 / 2, 2 / 2]
    assert batch.maps["stands_for"].tolist() == [0, 1, 1, 0, 0]
    assert batch.notes == {"mean_similarity": 1.0}


def test_equals_the_plain_algorithm(pool: Candidates) -> None:
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    table = plainly.half_cosines(pool.embeddings, pool.embeddings)
    labelled = plainly.half_cosines(pool.embeddings, pool.labelled_embeddings)
    for given_labelled in (False, True):
        reached = plainly.nearest(labelled) * given_labelled
        rows, gains = plainly.greedy(plainly.coverage_gains(table, reached), len(pool))
        batch = select(FacilityLocation(given_labelled=given_labelled), pool, len(pool))
        assert batch.ids.tolist() == pool.ids[rows].tolist()
        assert batch.scores.tolist() == gains


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_on_a_random_pool_rounding_decides_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((150, 4)).astype(np.float32)
    rows = points / np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    gains = plainly.coverage_gains((rows @ rows.T + 1) / 2, np.zeros(150))
    pool = Candidates(ids=np.arange(150), embeddings=points)
    assert select(FacilityLocation(), pool, 10).ids.tolist() == plainly.greedy(gains, 10)[0]


def test_gradients_are_those_of_the_likeliest_class() -> None:
    pool = build_pool("spread")
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    residuals = np.exp(pool.log_probs.astype(np.float64))
    residuals[np.arange(len(pool)), pool.log_probs.argmax(axis=1)] -= 1
    cosines = plainly.cosines(residuals, residuals)
    cosines *= plainly.cosines(pool.embeddings, pool.embeddings)
    gains = plainly.coverage_gains((cosines + 1) / 2, np.zeros(len(pool)))
    batch = select(FacilityLocation(space="gradients"), pool, 20)
    assert batch.ids.tolist() == pool.ids[plainly.greedy(gains, 20)[0]].tolist()


def test_what_labelled_samples_stand_for_is_left_out() -> None:
    points = np.array([[1, 0], [2, 0], [3, 0], [0, 1]], np.float32)
    pool = Candidates(
        ids=np.arange(4), embeddings=points, labelled_embeddings=np.array([[9, 0]], np.float32)
    )
    assert select(FacilityLocation(given_labelled=True), pool, 1).ids.tolist() == [3]
    assert select(FacilityLocation(), pool, 1).ids.tolist() == [0]


@pytest.mark.parametrize("space", ["embeddings", "gradients"])
def test_only_what_is_compared_is_needed(space: str) -> None:
    pool = build_pool("spread")
    for given_labelled in (False, True):
        strategy = FacilityLocation.model_validate(
            {"space": space, "given_labelled": given_labelled}
        )
        bare = Candidates(ids=pool.ids, **{name: getattr(pool, name) for name in strategy.needs})
        assert select(strategy, bare, 9).ids.tolist() == select(strategy, pool, 9).ids.tolist()


def test_lengths_of_embeddings_do_not_matter() -> None:
    pool = build_pool("spread")
    assert pool.embeddings is not None
    longer = replace(pool, embeddings=pool.embeddings * np.float32(64))
    expected = select(FacilityLocation(), pool, 20).ids.tolist()
    assert select(FacilityLocation(), longer, 20).ids.tolist() == expected
