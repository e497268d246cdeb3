"""Batches drawn in favour of high scores."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool
from pydantic import ValidationError
from scipy.stats import chisquare

from strategies import BADGE, Candidates, LeastConfidence, Power, SoftmaxTopK, SoftRank
from strategies.stochastic import Stochastic, gumbel_noise

# 1 - max p is 0.1, 0.2, 0.3 and 0.4.
TOPS = np.array([0.9, 0.8, 0.7, 0.6])
POOL = Candidates(
    ids=np.arange(4), log_probs=np.log(np.stack([TOPS, 1 - TOPS], axis=1)).astype(np.float32)
)
DRAWS = 2500


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def first_picks(strategy: Stochastic) -> list[int]:
    counts = Counter(int(strategy.select(POOL, 1, rng(seed)).ids[0]) for seed in range(DRAWS))
    return [counts[i] for i in range(4)]


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        (Power(base=LeastConfidence(), beta=2), [1, 4, 9, 16]),
        (SoftmaxTopK(base=LeastConfidence(), beta=5), np.exp(5 * (1 - TOPS)).tolist()),
        (SoftRank(base=LeastConfidence(), beta=1), [1 / 4, 1 / 3, 1 / 2, 1]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_first_pick_follows_its_weight(strategy: Stochastic, weights: list[float]) -> None:
    expected = DRAWS * np.array(weights) / np.sum(weights)
    assert chisquare(first_picks(strategy), expected).pvalue > 1e-3


@pytest.mark.parametrize(
    "strategy",
    [
        Power(base=LeastConfidence(), beta=1e7),
        SoftRank(base=LeastConfidence(), beta=1e7),
        SoftmaxTopK(base=LeastConfidence(), beta=1e7),
    ],
    ids=lambda strategy: strategy.name,
)
def test_a_large_beta_takes_the_top_of_the_list(strategy: Stochastic) -> None:
    pool = build_pool("spread")
    top = LeastConfidence().select(pool, 12, rng()).ids.tolist()
    assert strategy.select(pool, 12, rng()).ids.tolist() == top


def test_scores_of_zero_come_last_by_id() -> None:
    pool = build_pool("saturated")
    batch = Power(base=LeastConfidence()).select(pool, len(pool), rng())
    assert batch.ids.tolist() == pool.ids.tolist()


def test_equals_sorting_by_weight_plus_gumbel_noise() -> None:
    pool = build_pool("spread")
    assert pool.log_probs is not None
    doubt = 1 - np.exp(pool.log_probs.astype(np.float64)).max(axis=1)
    key = int(rng(5).integers(0, 2**64, dtype=np.uint64))
    keys = 3 * np.log(doubt) + gumbel_noise(pool.ids, key)
    expected = pool.ids[np.argsort(-keys, kind="stable")].tolist()
    batch = Power(base=LeastConfidence(), beta=3).select(pool, len(pool), rng(5))
    assert batch.ids.tolist() == expected


def test_a_strategy_without_scores_is_refused() -> None:
    with pytest.raises(ValidationError, match="badge has none before it has chosen"):
        Power(base=BADGE())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**62), min_size=1, unique=True))
def test_noise_belongs_to_the_id(key: int, ids: list[int]) -> None:
    noise = gumbel_noise(np.array(ids), key)
    assert np.isfinite(noise).all()
    assert noise[:1].tolist() == gumbel_noise(np.array(ids[:1]), key).tolist()
