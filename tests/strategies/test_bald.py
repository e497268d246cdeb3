"""BALD is the mutual information of the label and the draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import log_softmax

from strategies import Candidates, StrategyError
from strategies.bald import BALD
from strategies.base import Doubles


def pool_of(draws: Doubles) -> Candidates:
    """A pool of these class probabilities, (N, K, C)."""
    with np.errstate(divide="ignore"):
        return Candidates(ids=np.arange(len(draws)), mc_log_probs=np.log(draws))


def entropy_of(probs: Doubles) -> Doubles:
    terms = np.where(probs > 0, probs * np.log(np.where(probs > 0, probs, 1.0)), 0.0)
    return np.asarray(-terms.sum(axis=-1), np.float64)


def information(draws: Doubles) -> Doubles:
    """The law written down plainly, as a difference of entropies."""
    told: Doubles = entropy_of(draws.mean(axis=1)) - entropy_of(draws).mean(axis=1)
    return told


def ask(pool: Candidates, size: int) -> tuple[list[int], list[float]]:
    batch = BALD().select(pool, size, np.random.default_rng(0))
    return batch.ids.tolist(), batch.scores.tolist()


def test_two_sure_draws_that_differ_are_worth_log_two() -> None:
    assert BALD().utilities(pool_of(np.array([[[1.0, 0.0], [0.0, 1.0]]]))).tolist() == [np.log(2)]


def test_doubt_that_all_draws_share_is_worth_nothing() -> None:
    torn, divided = [[0.5, 0.5], [0.5, 0.5]], [[0.6, 0.4], [0.4, 0.6]]
    names, scores = ask(pool_of(np.array([torn, divided])), 2)
    assert names == [1, 0]
    assert scores == [pytest.approx(np.log(2) - 0.6730116670092565), 0.0]


def test_a_draw_that_is_sure_and_one_that_is_torn() -> None:
    # p = (3/4, 1/4): H(p) - log(2)/2.
    pool = pool_of(np.array([[[1.0, 0.0], [0.5, 0.5]]]))
    expected = -0.75 * np.log(0.75) - 0.25 * np.log(0.25) - np.log(2) / 2
    assert ask(pool, 1)[1] == [pytest.approx(expected, rel=1e-14)]


def test_equals_the_difference_of_entropies(pool: Candidates) -> None:
    assert pool.mc_log_probs is not None
    expected = information(np.exp(pool.mc_log_probs.astype(np.float64)))
    np.testing.assert_allclose(BALD().utilities(pool), np.maximum(expected, 0), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_orders_random_pools_as_the_difference_of_entropies_does(seed: int) -> None:
    logits = 2 * np.random.default_rng(seed).standard_normal((300 * 9, 5))
    draws = np.exp(log_softmax(logits)).reshape(300, 9, 5)
    assert ask(pool_of(draws), 300)[0] == np.argsort(-information(draws), kind="stable").tolist()


def test_draws_that_agree_are_worth_exactly_nothing(pool: Candidates) -> None:
    assert pool.log_probs is not None
    repeated = np.repeat(pool.log_probs[:, None], 7, axis=1)
    assert not BALD().utilities(replace(pool, mc_log_probs=repeated)).any()


def test_a_class_that_only_some_draws_rule_out_costs_no_nan() -> None:
    draws = np.array([[[0.0, 0.5, 0.5], [0.2, 0.3, 0.5]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(BALD().utilities(pool_of(draws)), information(draws), rtol=1e-12)


def test_draws_that_differ_beyond_float32_are_told_apart() -> None:
    # Both differences of entropies read 0 in float32 around one.
    rest = np.array([[-40.0, -30.0], [-40.0, -40.0], [-30.0, -25.0]], np.float32)
    log_probs = np.stack([np.zeros_like(rest), rest], axis=2)
    pool = Candidates(ids=np.arange(3), mc_log_probs=log_probs)
    assert ask(pool, 3)[0] == [2, 0, 1]


def test_a_single_draw_is_refused_with_the_way_out() -> None:
    with pytest.raises(StrategyError, match=r"bald compares draws.* take 10 or more"):
        ask(pool_of(np.full((3, 1, 2), 0.5)), 1)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(2, 5), st.integers(1, 4)),
        elements=st.sampled_from([-700.0, -30.0, -1.0, 0.0, 0.5, 2.0, 30.0]),
    )
)
def test_lies_between_nothing_and_what_draws_and_classes_can_hold(logits: Doubles) -> None:
    draws = np.exp(log_softmax(logits.reshape(-1, logits.shape[2]))).reshape(logits.shape)
    scores = BALD().utilities(pool_of(draws))
    assert (scores >= 0).all()
    assert (scores <= np.log(min(logits.shape[1:])) + 1e-12).all()
    np.testing.assert_allclose(scores, information(draws), atol=1e-12)
