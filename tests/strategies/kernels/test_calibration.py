from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import log_softmax

from strategies.base import Doubles, Rows
from strategies.kernels.calibration import at_temperature, calibration_error, fit_temperature


def plain_error(log_probs: Doubles, labels: Rows) -> float:
    """Bin by bin: how many, how sure, how often right."""
    confidence = np.exp(log_probs).max(axis=1)
    is_right = log_probs.argmax(axis=1) == labels
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            gap = abs(is_right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    return float(error)


def test_two_of_four_right_at_full_confidence_is_an_error_of_a_half() -> None:
    log_probs = np.array([[0, -np.inf]] * 4)
    assert calibration_error(log_probs, np.array([0, 0, 1, 1])) == 0.5


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_equals_the_definition_written_down_plainly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(3 * rng.standard_normal((int(rng.integers(1, 90)), 4)))
    labels = rng.integers(0, 4, len(log_probs))
    assert calibration_error(log_probs, labels) == pytest.approx(plain_error(log_probs, labels))


def test_temperature_divides_logits() -> None:
    logits = np.array([[3.0, 1.0, -2.0], [0.0, 0.0, 5.0]])
    np.testing.assert_allclose(at_temperature(log_softmax(logits), 4), log_softmax(logits / 4))
    ruled_out = at_temperature(np.array([[0, -np.inf]]), 9)
    assert ruled_out.tolist() == [[0, -np.inf]]


@pytest.mark.parametrize("truth", [0.5, 1.0, 4.0])
def test_the_temperature_of_the_labels_is_found(truth: float) -> None:
    rng = np.random.default_rng(0)
    logits = 6 * rng.standard_normal((20_000, 3))
    chances = np.exp(log_softmax(logits / truth)).cumsum(axis=1)
    labels = (chances < rng.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(log_softmax(logits), labels) == pytest.approx(truth, rel=0.2)


def test_nothing_to_fit_leaves_the_temperature_alone() -> None:
    assert fit_temperature(np.empty((0, 3)), np.empty(0, np.int64)) == 1


def test_of_equally_good_temperatures_the_one_nearest_one_is_taken() -> None:
    assert fit_temperature(np.array([[0, -np.inf]] * 3), np.zeros(3, np.int64)) == 1
