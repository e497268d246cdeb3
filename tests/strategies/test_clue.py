from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import log_softmax

from strategies import Candidates
from strategies.base import Doubles, QueryStrategy, Selection
from strategies.clue import CLUE, softened_entropy
from strategies.kernels.kmeans import k_means, pool_of
from strategies.kmeans import KMeansSampling, representatives


def select(
    pool: Candidates, batch_size: int, strategy: QueryStrategy | None = None, seed: int = 0
) -> Selection:
    return (strategy or CLUE()).select(pool, batch_size, np.random.default_rng(seed))


def of_points(points: Doubles, probs: Doubles) -> Candidates:
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs).astype(np.float32)
    return Candidates(
        ids=np.arange(len(points)), log_probs=log_probs, embeddings=points.astype(np.float32)
    )


def plain_entropy(log_probs: Doubles, temperature: float) -> Doubles:
    probs = np.exp(log_probs.astype(np.float64)) ** (1 / temperature)
    probs /= probs.sum(axis=1, keepdims=True)
    logs = np.log(np.where(probs > 0, probs, 1))
    entropies: Doubles = -(probs * logs).sum(axis=1)
    return entropies


def test_one_cluster_is_represented_near_its_doubtful_side() -> None:
    points = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    doubts = np.array([0.0, 0.0, 0.0, 0.5, 0.5])
    pool = of_points(points, np.column_stack([1 - doubts, doubts]))
    batch = select(pool, 1)
    # The weighted mean is 3.5, and the smaller id wins; that of all samples alike is 2.
    assert batch.ids.tolist() == [3]
    assert batch.scores.tolist() == [0.5]
    assert select(pool, 1, KMeansSampling()).ids.tolist() == [2]


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_softened_entropies_equal_the_plain_ones(pool: Candidates, temperature: float) -> None:
    assert pool.log_probs is not None
    found = softened_entropy(pool.log_probs, temperature)
    expected = plain_entropy(pool.log_probs.astype(np.float64), temperature)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_temperature_by_hand() -> None:
    log_probs = np.log(np.array([[0.8, 0.2]]))
    # 0.8 and 0.2 to the power of 1/2 are as 2 to 1.
    expected = np.log(3) - 2 / 3 * np.log(2)
    np.testing.assert_allclose(softened_entropy(log_probs, 2.0), [expected])


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_extreme_temperatures_leave_numbers(temperature: float) -> None:
    log_probs = np.array([[np.log(0.6), np.log(0.4), -np.inf], [np.log(0.5), np.log(0.5), -np.inf]])
    found = softened_entropy(log_probs, temperature)
    expected = [0.0, np.log(2)] if temperature < 1 else [np.log(2), np.log(2)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equals_representatives_of_weighted_k_means(pool: Candidates) -> None:
    assert pool.embeddings is not None
    assert pool.log_probs is not None
    weights = plain_entropy(pool.log_probs.astype(np.float64), 1.0)
    if weights.max() < 1e-9:
        weights = np.ones(len(pool))
    exact = pool_of(pool.embeddings)
    count = min(6, len(pool))
    clusters = k_means(exact, count, np.random.default_rng(0), weights=weights)
    rows, _ = representatives(exact, clusters, count)
    assert select(pool, count).ids.tolist() == pool.ids[rows].tolist()


@pytest.mark.parametrize("probs", [[1.0, 0.0], [0.7, 0.3]])
def test_with_equal_entropies_it_is_k_means(probs: list[float]) -> None:
    points = np.random.default_rng(0).standard_normal((90, 3))
    pool = of_points(points, np.tile(probs, (90, 1)))
    for seed in range(3):
        expected = select(pool, 12, KMeansSampling(), seed)
        assert select(pool, 12, seed=seed).ids.tolist() == expected.ids.tolist()


def test_samples_without_doubt_fill_a_batch_around_those_with_it() -> None:
    points = np.array([0.0, 10, 20, 1, 2, 11, 12, 40])[:, None]
    probs = np.full((8, 2), 0.5)
    probs[3:] = [1, 0]
    batch = select(of_points(points, probs), 7)
    assert sorted(batch.ids[:3].tolist()) == [0, 1, 2]
    assert batch.notes["clusters"] == 3
    # Each cluster takes its next nearest; 40 is all that is left near 20, 2 or 12 is the fourth.
    assert sorted(batch.ids[3:6].tolist()) == [3, 5, 7]
    assert batch.ids[6] in (4, 6)


def test_lower_temperature_follows_the_doubt_more() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((300, 2))
    pool = of_points(points, np.exp(log_softmax(3 * rng.standard_normal((300, 3)))))
    assert pool.log_probs is not None
    doubts = plain_entropy(pool.log_probs.astype(np.float64), 1.0)
    cold, warm = (select(pool, 30, CLUE(temperature=t)).ids for t in (0.3, 30.0))
    assert doubts[cold].mean() > doubts[warm].mean()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1), st.floats(0.05, 20))
def test_any_batch_is_distinct_and_finite(num: int, seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, (num, 2)).astype(float)
    probs = rng.dirichlet([0.1, 0.1, 0.1], num)
    probs[rng.random(num) < 0.4] = [1, 0, 0]
    for count in {1, (num + 1) // 2, num}:
        batch = select(of_points(points, probs), count, CLUE(temperature=temperature), seed)
        assert len(set(batch.ids.tolist())) == count
        assert np.isfinite(batch.scores).all()


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        CLUE(temperature=0)


def test_shifting_all_embeddings_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    points = np.round(rng.standard_normal((100, 4)) * 64) / 64
    pool = of_points(points, rng.dirichlet(np.ones(4), 100))
    moved = replace(pool, embeddings=(points + 2048).astype(np.float32))
    assert select(pool, 9).ids.tolist() == select(moved, 9).ids.tolist()
