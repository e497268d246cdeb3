"""Acquisition functions: closed forms, slow twins, and the edges of float32."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from strategies.base import Doubles
from strategies.scores import (
    behind_best,
    entropy,
    largest_divergence,
    log_doubt,
    log_odds,
    log_ratio,
    margin,
    mean_log_probs,
    mean_std,
    mutual_information,
    variation_ratio,
    vote_entropy,
    votes,
)


def logs(*rows: list[float]) -> Doubles:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, np.float64))


def log_softmax(logits: Doubles) -> Doubles:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Doubles = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


LOGITS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.floats(-30, 30),
)


def test_margin_of_two_equal_top_classes_is_zero() -> None:
    assert margin(logs([0.5, 0.5, 0.0], [0.4, 0.2, 0.4])).tolist() == [0, 0]


def test_margin_is_the_gap_between_the_two_likeliest_classes() -> None:
    np.testing.assert_allclose(margin(logs([0.1, 0.7, 0.2], [0.3, 0.3, 0.4])), [0.5, 0.1])


def test_margin_of_a_certain_row_is_one() -> None:
    assert margin(logs([0.0, 1.0])).tolist() == [1]


def test_log_doubt_is_the_log_of_what_the_likeliest_class_leaves() -> None:
    np.testing.assert_allclose(
        np.exp(log_doubt(logs([0.1, 0.7, 0.2], [0.25, 0.25, 0.5]))), [0.3, 0.5]
    )


def test_log_doubt_of_equal_likeliest_classes_leaves_out_one_of_them() -> None:
    np.testing.assert_allclose(np.exp(log_doubt(logs([0.4, 0.4, 0.2]))), [0.6])


def test_entropy_of_a_uniform_row_is_log_c() -> None:
    np.testing.assert_allclose(entropy(logs([1 / 7] * 7)), [math.log(7)])


def test_entropy_of_a_one_hot_row_is_zero_not_nan() -> None:
    assert entropy(logs([1, 0, 0])).tolist() == [0]


def test_log_ratio_compares_the_two_likeliest_classes() -> None:
    np.testing.assert_allclose(log_ratio(logs([0.6, 0.1, 0.3])), [math.log(2)])


def test_one_class_leaves_no_doubt() -> None:
    only = np.zeros((2, 1))
    assert margin(only).tolist() == [1, 1]
    assert entropy(only).tolist() == [0, 0]
    assert log_doubt(only).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("score", [log_doubt, entropy, lambda rows: -log_ratio(rows)])
def test_saturated_float32_rows_still_differ(score: object) -> None:
    # Every probability of these rows reads 1.0 or 0.0 in float32 arithmetic around one.
    assert callable(score)
    saturated = np.array([[0, -40, -90], [0, -50, -90], [0, -60, -90]], np.float32)
    first, second, third = score(saturated)
    assert first > second > third


def test_empty_pools_have_empty_scores() -> None:
    for score in (margin, log_ratio, log_doubt, entropy):
        assert score(np.empty((0, 3))).shape == (0,)
    for of_draws in (mutual_information, largest_divergence, mean_std, vote_entropy):
        assert of_draws(np.empty((0, 4, 3))).shape == (0,)
    assert variation_ratio(np.empty((0, 4, 3))).shape == (0,)
    assert mean_log_probs(np.empty((0, 4, 3))).shape == votes(np.empty((0, 4, 3))).shape == (0, 3)


def test_behind_best_is_the_way_to_the_likeliest_class() -> None:
    expected = [[-0.6, 0, -0.5], [0, -0.2, 0]]
    np.testing.assert_allclose(
        behind_best(logs([0.1, 0.7, 0.2], [0.4, 0.2, 0.4])), expected, atol=1e-15
    )
    assert behind_best(logs([0, 1, 0])).tolist() == [[-1, 0, -1]]


def test_log_odds_weigh_a_class_against_all_others() -> None:
    np.testing.assert_allclose(
        log_odds(logs([0.8, 0.2, 0.0], [0.5, 0.25, 0.25])),
        [[math.log(4), -math.log(4), -math.inf], [0, -math.log(3), -math.log(3)]],
        atol=1e-15,
    )
    assert log_odds(logs([1, 0])).tolist() == [[math.inf, -math.inf]]
    assert log_odds(np.zeros((1, 1))).tolist() == [[math.inf]]


def test_log_odds_of_saturated_rows_still_differ() -> None:
    saturated = np.array([[0, -40, -90], [0, -50, -90], [0, -60, -90]], np.float32)
    np.testing.assert_allclose(log_odds(saturated)[:, 0], [40, 50, 60])


def test_the_mean_of_draws_is_a_mean_of_probabilities() -> None:
    draws = logs([0.5, 0.5, 0.0], [0.1, 0.9, 0.0])[None]
    np.testing.assert_allclose(np.exp(mean_log_probs(draws)), [[0.3, 0.7, 0]])


def test_the_mean_of_draws_does_not_underflow() -> None:
    draws = np.array([[[0.0, -800.0], [0.0, -802.0]]])
    expected = -800 + math.log((1 + math.exp(-2)) / 2)
    assert mean_log_probs(draws)[0, 1] == pytest.approx(expected, rel=1e-15)


def test_the_mean_of_equal_draws_is_the_draw_bit_for_bit() -> None:
    rows = log_softmax(np.random.default_rng(0).standard_normal((50, 4)))
    for draws in (1, 3, 10):
        repeated = np.repeat(rows[:, None], draws, axis=1)
        assert mean_log_probs(repeated).tolist() == rows.tolist()


def test_votes_are_counted_for_the_first_of_equals() -> None:
    draws = logs([0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.2, 0.3, 0.5])[None]
    assert votes(draws).tolist() == [[1, 1, 1]]
    assert variation_ratio(draws).tolist() == [1 - 1 / 3]


def test_draws_in_a_file_score_as_those_in_memory(tmp_path: Path) -> None:
    logits = np.random.default_rng(1).standard_normal((90, 3))
    draws = log_softmax(logits).reshape(30, 3, 3).astype(np.float32)
    np.save(tmp_path / "draws.npy", draws)
    mapped = np.load(tmp_path / "draws.npy", mmap_mode="r")
    for score in (mutual_information, largest_divergence, mean_std, vote_entropy):
        assert score(mapped).tolist() == score(draws).tolist()


@given(LOGITS)
def test_scores_equal_their_definitions(logits: Doubles) -> None:
    log_probs = log_softmax(logits)
    for row, doubt, gap, bits in zip(
        log_probs, log_doubt(log_probs), margin(log_probs), entropy(log_probs), strict=True
    ):
        probs = [*sorted((math.exp(value) for value in row), reverse=True), 0.0]
        rest = math.fsum(probs[1:])
        assert math.exp(doubt) == pytest.approx(rest, rel=1e-9, abs=1e-300)
        assert gap == pytest.approx(probs[0] - probs[1], abs=1e-12)
        assert bits == pytest.approx(-math.fsum(p * math.log(p) for p in probs[:-1]), abs=1e-12)


@given(LOGITS)
def test_scores_do_not_depend_on_the_order_of_classes(logits: Doubles) -> None:
    log_probs = log_softmax(logits)
    for score in (margin, log_ratio):
        assert score(log_probs).tolist() == score(log_probs[:, ::-1]).tolist()
    for score in (entropy, log_doubt):
        np.testing.assert_allclose(
            score(log_probs), score(log_probs[:, ::-1]), rtol=1e-9, atol=1e-15
        )


@given(LOGITS)
def test_scores_stay_in_their_ranges(logits: Doubles) -> None:
    log_probs = log_softmax(logits)
    num_classes = logits.shape[1]
    assert ((margin(log_probs) >= 0) & (margin(log_probs) <= 1 + 1e-12)).all()
    assert (entropy(log_probs) >= 0).all()
    assert (entropy(log_probs) <= math.log(num_classes) + 1e-12).all()
    assert (np.exp(log_doubt(log_probs)) <= 1 - 1 / num_classes + 1e-12).all()
