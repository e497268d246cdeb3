from __future__ import annotations

from dataclasses import replace

import numpy as np
import plainly
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool, log_softmax

from strategies import Candidates, Selection, Validation
from strategies.maxherding import MaxHerding
from strategies.uherding import UHerding, smallest_distance


def select(strategy: UHerding | MaxHerding, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def small_pool(points: list[list[int]], probs: list[list[float]]) -> Candidates:
    return Candidates(
        ids=np.arange(len(points)),
        embeddings=np.array(points, np.float32),
        log_probs=np.log(np.array(probs, np.float32)),
        labelled_embeddings=np.array([[-1, 0, 0]], np.float32),
    )


def test_a_candidate_counts_by_the_doubt_of_what_it_covers() -> None:
    points = [[1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]]
    sure, torn = [0.9, 0.1], [0.5, 0.5]
    pool = small_pool(points, [sure, sure, torn, sure])
    batch = select(UHerding(width=0.1, temperature=1), pool, 3)
    # One torn candidate counts 1, two sure ones 0.2 each.
    assert batch.ids.tolist() == [2, 0, 3]
    np.testing.assert_allclose(batch.scores, [1, 0.4, 0.2], atol=1e-6)
    assert batch.notes == {"width": 0.1, "temperature": 1}


def test_a_high_temperature_makes_coverage_of_it() -> None:
    points = [[1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]]
    sure, torn = [0.9, 0.1], [0.5, 0.5]
    pool = small_pool(points, [sure, sure, torn, sure])
    assert select(UHerding(width=0.1, temperature=100), pool, 1).ids.tolist() == [0]


def test_the_closest_two_labelled_samples_set_the_width() -> None:
    labelled = np.array([[1, 0], [3, 0], [0, 2], [-1, 1]], np.float32)
    # Equal directions are the same place; then 45 degrees.
    assert smallest_distance(labelled) == pytest.approx(2 * np.sin(np.pi / 8))
    assert smallest_distance(labelled[:1]) == np.inf
    assert smallest_distance(labelled[:2]) == np.inf
    assert smallest_distance(labelled[:0]) == np.inf


def test_without_two_labelled_samples_the_width_is_one() -> None:
    pool = build_pool("spread")
    assert pool.labelled_embeddings is not None
    one = replace(
        pool,
        labelled_ids=None,
        labelled_log_probs=None,
        labelled_labels=None,
        labelled_embeddings=pool.labelled_embeddings[:1],
    )
    assert select(UHerding(), one, 3).notes["width"] == 1


def test_with_nothing_labelled_it_is_maxherding() -> None:
    pool = build_pool("nothing_labelled")
    expected = select(MaxHerding(), pool, len(pool))
    batch = select(UHerding(), pool, len(pool))
    assert batch.ids.tolist() == expected.ids.tolist()
    assert batch.scores.tolist() == expected.scores.tolist()


def test_with_equal_doubt_everywhere_it_is_maxherding() -> None:
    pool = replace(build_pool("spread"), log_probs=np.full((60, 4), np.log(0.25), np.float32))
    expected = select(MaxHerding(width=0.5), pool, 30).ids.tolist()
    assert select(UHerding(width=0.5), pool, 30).ids.tolist() == expected


def test_a_temperature_that_is_given_needs_no_validation_samples() -> None:
    assert UHerding().needs - UHerding(temperature=2).needs == {"validation"}
    bare = replace(build_pool("spread"), validation=None)
    assert len(select(UHerding(temperature=2), bare, 5)) == 5


def test_without_validation_samples_the_temperature_is_one() -> None:
    empty = Validation(
        log_probs=np.empty((0, 4), np.float32),
        embeddings=np.empty((0, 6), np.float32),
        labels=np.empty(0, np.int64),
    )
    batch = select(UHerding(), replace(build_pool("spread"), validation=empty), 5)
    assert batch.notes["temperature"] == 1


@given(seed=st.integers(0, 10**6), temperature=st.sampled_from([0.5, 1.0, 3.0]))
@settings(deadline=None, max_examples=25)
def test_equals_the_plain_algorithm(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((50, 5)).astype(np.float32)
    labelled = rng.standard_normal((4, 5)).astype(np.float32)
    log_probs = log_softmax(2 * rng.standard_normal((50, 3))).astype(np.float32)
    pool = Candidates(
        ids=np.arange(50), embeddings=points, labelled_embeddings=labelled, log_probs=log_probs
    )
    unit = plainly.unit_rows(labelled)
    gaps = np.sqrt(((unit[:, None] - unit) ** 2).sum(axis=2))
    width = gaps[gaps > 0].min()
    ordered = np.sort(np.exp(log_softmax(log_probs.astype(np.float64) / temperature)), axis=1)
    doubts = 1 - (ordered[:, -1] - ordered[:, -2])
    worths = doubts[:, None] * plainly.gaussians(points, points, width)
    reached = doubts * plainly.nearest(plainly.gaussians(points, labelled, width))
    rows, scores = plainly.greedy(plainly.coverage_gains(worths, reached), 20)
    batch = select(UHerding(temperature=temperature), pool, 20)
    assert batch.ids.tolist() == rows
    np.testing.assert_allclose(batch.scores, scores, atol=1e-6)


def test_a_learner_that_is_sure_of_everything_still_has_doubts_that_differ() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((42, 4)).astype(np.float32)
    doubts = 10.0 ** rng.uniform(-14, -10.5, 40)
    pool = Candidates(
        ids=np.arange(40),
        log_probs=np.stack([np.log1p(-doubts), np.log(doubts)], axis=1),
        embeddings=points[:40],
        labelled_embeddings=points[40:],
    )
    batch = UHerding(temperature=1.0, width=1.0).select(pool, 1, rng)
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    likeness = np.exp(-((units[:, None] - units[None]) ** 2).sum(axis=2, dtype=np.float64))
    gained = np.maximum(likeness[:40, :40] - likeness[:40, 40:].max(axis=1, keepdims=True), 0)
    gains = 2 * doubts @ gained
    assert batch.ids.tolist() == [gains.argmax()]
    np.testing.assert_allclose(batch.scores, [gains.max()], rtol=1e-5)
