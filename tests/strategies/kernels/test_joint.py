"""What is known of the draws once labels are: rounding that adds up, samples that are even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import log_softmax

from strategies.base import Doubles
from strategies.kernels.joint import Outcomes, most_informative
from strategies.scores import mutual_information

GRID = 2.0**26


def draws_of(seed: int, num: int, draws: int, classes: int) -> Doubles:
    logits = np.random.default_rng(seed).standard_normal((num * draws, classes))
    return log_softmax(2 * logits).reshape(num, draws, classes)


def grown(mc_log_probs: Doubles, most: int, uniform_seed: int = 0) -> Outcomes:
    """After the labels of all samples given."""
    rng = np.random.default_rng(uniform_seed)
    outcomes = Outcomes.of_nothing(mc_log_probs.shape[1])
    for log_probs in mc_log_probs:
        outcomes = outcomes.extended(log_probs, most, rng)
    return outcomes


def test_two_labels_that_agree_leave_one_draw() -> None:
    with np.errstate(divide="ignore"):
        sure = np.log(np.array([[[1.0, 0.0], [0.0, 1.0]]] * 2))
    outcomes = grown(sure, most=10)
    assert outcomes.weights.tolist() == [0.5, 0.5]
    assert outcomes.posteriors.tolist() == [[1, 0], [0, 1]]


def test_labellings_are_weighed_by_their_probability() -> None:
    # Under either draw the label is 0 with 0.75 and 0.25; both say the same of the next label.
    outcomes = grown(np.log(np.array([[[0.75, 0.25], [0.25, 0.75]]])), most=10)
    assert outcomes.weights.tolist() == [0.5, 0.5]
    assert outcomes.posteriors.tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_before_any_label_the_information_is_that_of_bald() -> None:
    draws = draws_of(0, 200, 7, 4)
    told = Outcomes.of_nothing(7).information(draws)
    np.testing.assert_allclose(told, mutual_information(draws), atol=1e-6)


@pytest.mark.parametrize("most", [4, 50, 10_000])
def test_what_is_said_of_the_draws_adds_up_exactly(most: int) -> None:
    outcomes = grown(draws_of(1, 5, 13, 3), most)
    assert len(outcomes) <= most
    assert (outcomes.posteriors.sum(axis=1) == 1).all()
    assert (outcomes.posteriors * GRID == np.rint(outcomes.posteriors * GRID)).all()
    assert outcomes.weights.sum() == pytest.approx(1, abs=1e-12)
    assert outcomes.are_sampled == (most < 3**5)


def test_samples_of_labellings_are_even() -> None:
    draws = draws_of(2, 3, 6, 3)
    all_of_them, some = grown(draws, 27), grown(draws, 20, uniform_seed=5)
    # Found again by what they say of the draws.
    for weight, posterior in zip(some.weights, some.posteriors, strict=True):
        same = (all_of_them.posteriors == posterior).all(axis=1)
        expected = float(all_of_them.weights[same][0])
        assert abs(weight - expected) < 1 / 20


def test_samples_of_labellings_are_right_on_average() -> None:
    draws = draws_of(3, 3, 5, 3)
    exact = grown(draws, 27).information(draws)
    mean = np.mean([grown(draws, 10, seed).information(draws) for seed in range(400)], axis=0)
    np.testing.assert_allclose(mean, exact, atol=0.01)


def test_what_a_sample_tells_does_not_depend_on_how_many_are_asked_at_once() -> None:
    pool = draws_of(4, 300, 40, 5)
    outcomes = grown(pool[:3], 200)
    whole = outcomes.information(pool).tolist()
    for step in (1, 7):
        parts = [outcomes.information(pool[k : k + step]) for k in range(0, 300, step)]
        assert np.concatenate(parts).tolist() == whole


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(2, 5), st.integers(1, 4)),
        elements=st.sampled_from([-700.0, -20.0, -1.0, 0.0, 1.0, 20.0]),
    ),
    st.integers(1, 20),
    st.floats(0, 1, exclude_max=True),
)
def test_any_pool_is_taken_to_the_end(logits: Doubles, most: int, start: float) -> None:
    draws = log_softmax(logits.reshape(-1, logits.shape[2])).reshape(logits.shape)
    rng = np.random.default_rng(int(start * 2**32))
    rows, gains, num_exact = most_informative(draws, len(draws), most, rng)
    assert sorted(rows.tolist()) == list(range(len(draws)))
    assert (gains >= 0).all()
    assert (gains <= mutual_information(draws)[rows]).all()
    assert 1 <= num_exact <= len(draws)
