"""Which samples the uncertainty strategies ask for first."""

from __future__ import annotations

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
)
from strategies.base import Doubles
from strategies.families import ScoreStrategy

ALL: list[ScoreStrategy] = [LeastConfidence(), MarginSampling(), EntropySampling()]


def ask(
    strategy: QueryStrategy, probs: list[list[float]], ids: list[str], size: int
) -> tuple[list[str], list[float]]:
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array(probs, np.float32))
    pool = Candidates(ids=np.array(ids), log_probs=log_probs)
    batch = strategy.select(pool, size, np.random.default_rng(0))
    return [str(name) for name in batch.ids], [float(score) for score in batch.scores]


def test_margin_asks_first_for_the_sample_torn_between_two_classes() -> None:
    torn, spread = [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]
    assert ask(MarginSampling(), [spread, torn], ["a", "b"], 1)[0] == ["b"]


def test_entropy_asks_first_for_the_sample_spread_over_all_classes() -> None:
    torn, spread = [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]
    assert ask(EntropySampling(), [torn, spread], ["a", "b"], 1)[0] == ["b"]


def test_least_confidence_asks_first_for_the_lowest_top_probability() -> None:
    names, scores = ask(LeastConfidence(), [[0.6, 0.4], [0.55, 0.45]], ["a", "b"], 2)
    assert names == ["b", "a"]
    assert scores == pytest.approx([0.45, 0.4], abs=1e-6)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_equal_scores_are_ordered_by_id(strategy: QueryStrategy) -> None:
    probs = [[0.7, 0.3], [0.3, 0.7], [0.7, 0.3], [0.6, 0.4]]
    assert ask(strategy, probs, ["d", "b", "c", "x"], 3)[0] == ["x", "b", "c"]


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_with_two_classes_all_agree(strategy: QueryStrategy) -> None:
    top = np.random.default_rng(1).uniform(0.5, 1, 50)
    names = [f"{k:02}" for k in range(50)]
    probs = [[float(p), float(1 - p)] for p in top]
    assert ask(strategy, probs, names, 50)[0] == [names[k] for k in np.argsort(top)]


@pytest.mark.parametrize("strategy", [LeastConfidence(), MarginSampling()], ids=lambda s: s.name)
def test_rows_are_told_apart_even_where_probabilities_underflow(strategy: QueryStrategy) -> None:
    left = np.array([-900, -800, -1000], np.float32)
    log_probs = np.stack([np.zeros(3, np.float32), left], axis=1)
    pool = Candidates(ids=np.arange(3), log_probs=log_probs)
    assert strategy.select(pool, 3, np.random.default_rng(0)).ids.tolist() == [1, 0, 2]


def test_margins_of_zero_are_a_tie_whatever_the_third_class_has() -> None:
    rows = [[0.375, 0.375, 0.25], [0.4, 0.4, 0.2]]
    assert ask(MarginSampling(), rows, ["b", "a"], 2)[0] == ["a", "b"]


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_saturated_rows_are_ordered_by_what_is_left_not_by_id(strategy: QueryStrategy) -> None:
    left = np.array([-80, -50, -90, -60], np.float32)
    log_probs = np.stack([np.zeros(4, np.float32), left], axis=1)
    pool = Candidates(ids=np.arange(4), log_probs=log_probs)
    assert strategy.select(pool, 4, np.random.default_rng(0)).ids.tolist() == [1, 3, 0, 2]


def plain_scores(strategy: QueryStrategy, probs: Doubles) -> list[float]:
    """The measures of doubt, one sample at a time."""
    scores = []
    for row in probs:
        first, second, *_ = [*sorted((float(p) for p in row), reverse=True), 0.0]
        scores.append(
            {
                "least_confidence": 1 - first,
                "margin": 1 - (first - second),
                "entropy": -sum(float(p * np.log(p)) for p in row if p > 0),
            }[strategy.name]
        )
    return scores


def test_utilities_are_the_measures_of_doubt_themselves() -> None:
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0.5, 0.5, 0]], np.float32))
    pool = Candidates(ids=np.arange(3), log_probs=log_probs)
    expected = [[0.5, 0, 0.5], [0.75, 0, 1], [1.5 * np.log(2), 0, np.log(2)]]
    for strategy, scores in zip(ALL, expected, strict=True):
        np.testing.assert_allclose(strategy.utilities(pool), scores, rtol=1e-6)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_utilities_rank_as_the_strategy_does(strategy: ScoreStrategy, pool: Candidates) -> None:
    utilities = strategy.utilities(pool)
    assert utilities.shape == (len(pool),)
    assert (utilities >= 0).all()
    assert np.isfinite(utilities).all()
    rows = strategy.choose(pool, len(pool), np.random.default_rng(0)).rows
    assert (np.diff(utilities[rows]) <= 0).all()


def test_a_margin_that_rounding_carries_beyond_one_is_worth_nothing_not_less() -> None:
    # Rows may add up to 1 within 1e-3.
    pool = Candidates(ids=np.arange(1), log_probs=np.array([[5e-4, -20.0]], np.float32))
    assert MarginSampling().utilities(pool).tolist() == [0]


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 5)),
        elements=st.floats(-25, 25),
    ),
    st.sampled_from(ALL),
)
def test_every_pick_is_in_doubt_as_much_as_any_left(
    logits: Doubles, strategy: ScoreStrategy
) -> None:
    log_probs = log_softmax(logits).astype(np.float32)
    pool = Candidates(ids=np.arange(len(logits)), log_probs=log_probs)
    rows = strategy.select(pool, len(logits), np.random.default_rng(0)).ids.astype(np.int64)
    scores = np.array(plain_scores(strategy, np.exp(log_probs.astype(np.float64))))
    # 1 - max p is taken from the other classes, and float32 rows do not add up to 1 exactly.
    np.testing.assert_allclose(strategy.utilities(pool), scores, atol=1e-6)
    assert (np.diff(scores[rows]) <= 1e-6).all()
