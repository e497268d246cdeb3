from __future__ import annotations

import numpy as np
import plainly
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool, log_softmax

from strategies import (
    Candidates,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    QueryStrategy,
    Selection,
)
from strategies.facility_location import FacilityLocation
from strategies.fass import FASS

FILTERS: dict[str, QueryStrategy] = {
    "entropy": EntropySampling(),
    "margin": MarginSampling(),
    "least_confidence": LeastConfidence(),
}


def select(strategy: QueryStrategy, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def test_the_unsure_are_kept_and_only_they_are_represented() -> None:
    points = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [9, 1]], np.float32)
    sure, torn = [0.9, 0.1], [0.5, 0.5]
    probs = np.array([sure, sure, sure, torn, torn, torn], np.float32)
    pool = Candidates(ids=np.arange(6), embeddings=points, log_probs=np.log(probs))
    batch = select(FASS(factor=3), pool, 1)
    # Of the three kept two are alike.
    assert batch.ids.tolist() == [3]
    assert batch.maps["stands_for"].tolist() == [-1, -1, -1, 0, 0, 0]
    assert batch.notes == {"kept": 3}


@pytest.mark.parametrize("uncertainty", FILTERS)
def test_with_a_factor_of_one_the_filter_chooses_the_batch(
    pool: Candidates, uncertainty: str
) -> None:
    count = min(len(pool), 9)
    strategy = FASS.model_validate({"factor": 1, "uncertainty": uncertainty})
    expected = select(FILTERS[uncertainty], pool, count).ids.tolist()
    assert sorted(select(strategy, pool, count).ids.tolist()) == sorted(expected)


@pytest.mark.parametrize("space", ["embeddings", "gradients"])
def test_with_everything_kept_it_is_facility_location(pool: Candidates, space: str) -> None:
    count = min(len(pool), 20)
    expected = select(FacilityLocation.model_validate({"space": space}), pool, count)
    batch = select(FASS.model_validate({"space": space, "factor": 99}), pool, count)
    assert batch.ids.tolist() == expected.ids.tolist()
    assert batch.scores.tolist() == expected.scores.tolist()
    assert batch.maps["stands_for"].tolist() == expected.maps["stands_for"].tolist()


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_equals_both_steps_written_down_plainly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((80, 5)).astype(np.float32)
    log_probs = log_softmax(rng.standard_normal((80, 4))).astype(np.float32)
    entropies = -(np.exp(log_probs.astype(np.float64)) * log_probs).sum(axis=1)
    kept = np.sort(np.argsort(-entropies)[:21])
    gains = plainly.coverage_gains(plainly.half_cosines(points[kept], points[kept]), np.zeros(21))
    pool = Candidates(ids=np.arange(80), embeddings=points, log_probs=log_probs)
    batch = select(FASS(factor=3), pool, 7)
    assert batch.ids.tolist() == kept[plainly.greedy(gains, 7)[0]].tolist()


def test_a_smaller_batch_need_not_be_a_prefix() -> None:
    pool = build_pool("spread")
    assert not FASS().is_prefix
    assert select(FASS(), pool, 3).notes == {"kept": 15}
