"""Scores of several draws: their mean, and how much they disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import log_softmax

from strategies import (
    Candidates,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    QueryStrategy,
    StrategyError,
)
from strategies.base import Doubles
from strategies.families import ScoreStrategy
from strategies.posterior import EntropyMC, LeastConfidenceMC, MarginMC, MeanStd, VariationRatio

ALL: list[ScoreStrategy] = [
    VariationRatio(),
    MeanStd(),
    LeastConfidenceMC(),
    MarginMC(),
    EntropyMC(),
]
OF_THE_MEAN: list[tuple[ScoreStrategy, ScoreStrategy]] = [
    (LeastConfidenceMC(), LeastConfidence()),
    (MarginMC(), MarginSampling()),
    (EntropyMC(), EntropySampling()),
]


def pool_of(draws: Doubles) -> Candidates:
    """A pool of these class probabilities, (N, K, C)."""
    with np.errstate(divide="ignore"):
        return Candidates(ids=np.arange(len(draws)), mc_log_probs=np.log(draws))


def drawn(rng: np.random.Generator, num: int, draws: int, classes: int) -> Doubles:
    flat = log_softmax(2 * rng.standard_normal((num * draws, classes)))
    return np.exp(flat).reshape(num, draws, classes)


def ask(strategy: QueryStrategy, pool: Candidates, size: int) -> tuple[list[int], list[float]]:
    batch = strategy.select(pool, size, np.random.default_rng(0))
    return batch.ids.tolist(), batch.scores.tolist()


def test_variation_ratio_is_the_share_of_votes_against_the_largest_party() -> None:
    a, b, c = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
    pool = pool_of(np.array([[a, a, a, a], [a, b, c, c], [a, a, b, b], [b, b, b, a]]))
    assert ask(VariationRatio(), pool, 4) == ([1, 2, 3, 0], [0.5, 0.5, 0.25, 0.0])


def test_a_draw_torn_between_classes_votes_for_the_lowest() -> None:
    torn = [0.4, 0.4, 0.2]
    pool = pool_of(np.array([[torn, [0.5, 0.3, 0.2]], [torn, [0.3, 0.5, 0.2]]]))
    assert ask(VariationRatio(), pool, 2) == ([1, 0], [0.5, 0.0])


def test_mean_std_is_the_deviation_over_draws_on_average_over_classes() -> None:
    pool = pool_of(np.array([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]))
    assert ask(MeanStd(), pool, 2) == ([1, 0], [0.5, 0.0])


def test_scores_of_the_mean_see_what_draws_agree_on_together() -> None:
    # Each draw is sure, and the mean is torn.
    divided, sure = [[1.0, 0.0], [0.0, 1.0]], [[0.75, 0.25], [0.75, 0.25]]
    pool = pool_of(np.array([sure, divided]))
    for strategy, scores in ((LeastConfidenceMC(), [0.5, 0.25]), (MarginMC(), [0.0, 0.5])):
        names, got = ask(strategy, pool, 2)
        assert names == [1, 0]
        assert got == pytest.approx(scores)
    assert ask(EntropyMC(), pool, 1)[1] == pytest.approx([np.log(2)])


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_equal_scores_are_ordered_by_id(strategy: ScoreStrategy) -> None:
    one, other = [[0.6, 0.4], [0.4, 0.6]], [[0.9, 0.1], [0.8, 0.2]]
    pool = pool_of(np.array([one, other, one, one, other]))
    assert ask(strategy, pool, 5)[0] == [0, 2, 3, 1, 4]


@pytest.mark.parametrize(("strategy", "plain"), OF_THE_MEAN, ids=lambda s: s.name)
def test_equal_draws_give_what_the_plain_strategy_gives(
    strategy: ScoreStrategy, plain: ScoreStrategy, pool: Candidates
) -> None:
    assert pool.log_probs is not None
    repeated = np.repeat(pool.log_probs[:, None], 3, axis=1)
    everything = len(pool)
    assert ask(strategy, replace(pool, mc_log_probs=repeated), everything) == ask(
        plain, pool, everything
    )


@pytest.mark.parametrize("strategy", [VariationRatio(), MeanStd()], ids=lambda s: s.name)
def test_draws_that_agree_score_exactly_nothing(strategy: ScoreStrategy, pool: Candidates) -> None:
    assert pool.log_probs is not None
    repeated = np.repeat(pool.log_probs[:, None], 7, axis=1)
    assert not strategy.utilities(replace(pool, mc_log_probs=repeated)).any()


@pytest.mark.parametrize("strategy", [VariationRatio(), MeanStd()], ids=lambda s: s.name)
def test_a_single_draw_is_refused_with_the_way_out(strategy: ScoreStrategy) -> None:
    pool = pool_of(np.full((3, 1, 2), 0.5))
    with pytest.raises(StrategyError, match=f"{strategy.name} compares draws.* take 10 or more"):
        ask(strategy, pool, 1)


@pytest.mark.parametrize("strategy", [s for s, _ in OF_THE_MEAN], ids=lambda s: s.name)
def test_the_mean_of_a_single_draw_is_the_draw(strategy: ScoreStrategy) -> None:
    assert ask(strategy, pool_of(np.array([[[0.9, 0.1]], [[0.6, 0.4]]])), 2)[0] == [1, 0]


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_utilities_rank_as_the_strategy_does(strategy: ScoreStrategy, pool: Candidates) -> None:
    utilities = strategy.utilities(pool)
    assert utilities.shape == (len(pool),)
    assert (utilities >= 0).all()
    assert np.isfinite(utilities).all()
    rows = strategy.choose(pool, len(pool), np.random.default_rng(0)).rows
    assert (np.diff(utilities[rows]) <= 0).all()


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_wide_pools_do_not_depend_on_their_blocks(strategy: ScoreStrategy) -> None:
    probs = drawn(np.random.default_rng(3), 9000, 3, 4)
    whole = strategy.utilities(pool_of(probs))
    assert whole[8190:8200].tolist() == strategy.utilities(pool_of(probs[8190:8200])).tolist()


DRAWS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(2, 5), st.integers(1, 4)),
    elements=st.sampled_from([-200.0, -30.0, -1.0, 0.0, 0.5, 2.0, 30.0]),
)


@settings(max_examples=60, deadline=None)
@given(DRAWS)
def test_scores_equal_their_definitions(logits: Doubles) -> None:
    num, draws, classes = logits.shape
    probs = np.exp(log_softmax(logits.reshape(-1, classes))).reshape(logits.shape)
    pool = pool_of(probs)
    mean = np.sort(probs.mean(axis=1), axis=1)[:, ::-1]
    second = mean[:, 1] if classes > 1 else 0.0
    counts = np.array([np.bincount(row, minlength=classes) for row in probs.argmax(axis=2)])
    np.testing.assert_array_equal(VariationRatio().utilities(pool), 1 - counts.max(axis=1) / draws)
    np.testing.assert_allclose(
        MeanStd().utilities(pool), probs.std(axis=1).mean(axis=1), atol=1e-12
    )
    np.testing.assert_allclose(
        LeastConfidenceMC().utilities(pool), mean[:, 1:].sum(axis=1), atol=1e-12
    )
    np.testing.assert_allclose(MarginMC().utilities(pool), 1 - mean[:, 0] + second, atol=1e-12)
    terms = mean * np.log(np.maximum(mean, 1e-300))
    np.testing.assert_allclose(EntropyMC().utilities(pool), -terms.sum(axis=1), atol=1e-12)
    assert num == len(pool)
