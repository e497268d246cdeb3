"""Fisher information and its updates, against matrices written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.base import Doubles
from strategies.kernels import blocks
from strategies.kernels.fisher import (
    Samples,
    TraceState,
    contrasts,
    information,
    principal,
)

CLASSES, WIDTH = 3, 4


def samples(num: int, seed: int = 0, classes: int = CLASSES, width: int = WIDTH) -> Samples:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, 0.5), num)
    return Samples(probs, rng.standard_normal((num, width)))


def dense(probs: Doubles, point: Doubles) -> Doubles:
    """E^T (diag p - p p^T) E ⊗ h h^T."""
    basis = contrasts(len(probs))
    spread = basis.T @ (np.diag(probs) - np.outer(probs, probs)) @ basis
    whole: Doubles = np.kron(spread, np.outer(point, point)).astype(np.float64)
    return whole


def all_dense(some: Samples) -> list[Doubles]:
    return [dense(*pair) for pair in zip(some.probs, some.points, strict=True)]


def state_of(some: Samples, factor: float = 0.3) -> tuple[TraceState, Doubles, Doubles]:
    fisher = information(some, np.ones(len(some))) / len(some)
    start = information(some.take(slice(0, 4)), np.ones(4)) + 0.5 * np.eye(len(fisher))
    return TraceState.of(some, factor, fisher, start.copy()), fisher, start


def trace(matrix: Doubles, fisher: Doubles) -> float:
    return float(np.trace(np.linalg.inv(matrix) @ fisher))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_contrasts_are_all_directions_that_add_up_to_zero(classes: int) -> None:
    basis = contrasts(classes)
    projection = np.eye(classes) - 1 / classes
    np.testing.assert_allclose(basis @ basis.T, projection, atol=1e-15)
    np.testing.assert_allclose(basis.T @ basis, np.eye(classes - 1), atol=1e-15)


def test_of_one_class_there_is_nothing_to_learn() -> None:
    one = Samples(np.ones((3, 1)), np.ones((3, 2)))
    assert information(one, np.ones(3)).tolist() == [[0, 0], [0, 0]]


def test_of_two_equal_classes_it_is_half_the_square_along_their_difference() -> None:
    one = Samples(np.array([[0.5, 0.5]]), np.array([[3.0]]))
    assert information(one, np.ones(1)).tolist() == [[pytest.approx(9 / 2)]]


def test_it_is_the_mean_square_of_the_gradient_over_the_labels_the_model_expects() -> None:
    some = samples(1)
    probs, point = some.probs[0], some.points[0]
    basis = contrasts(CLASSES)
    steps = [np.kron((np.eye(CLASSES)[c] - probs) @ basis, point) for c in range(CLASSES)]
    expected = sum(p * np.outer(g, g) for p, g in zip(probs, steps, strict=True))
    np.testing.assert_allclose(information(some, np.ones(1)), expected, atol=1e-15)


def test_a_sum_of_information_equals_the_one_written_out() -> None:
    some, weights = samples(2500, width=2), np.random.default_rng(1).random(2500)
    expected = sum(w * one for w, one in zip(weights, all_dense(some), strict=True))
    np.testing.assert_allclose(information(some, weights), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sign", [1, -1])
def test_changes_are_differences_of_traces(sign: int) -> None:
    some = samples(40)
    state, fisher, start = state_of(some, factor=0.3 if sign == 1 else 0.9)
    if sign == -1:  # only what is in M can be taken off it
        state.keep(np.arange(4))
    before = trace(start, fisher)
    expected = [
        sign * (before - trace(start + sign * state.factor * one, fisher))
        for one in all_dense(state.candidates)
    ]
    np.testing.assert_allclose(state.changes(sign), expected, rtol=1e-9)


def test_after_many_updates_the_state_is_what_it_would_be_anew() -> None:
    some = samples(60)
    state, fisher, matrix = state_of(some)
    steps = [(5, 1), (9, 1), (5, 1), (30, 1), (9, -1), (44, 1), (5, -1)]
    for which, sign in steps:
        state.update(which, sign)
        matrix += sign * 0.3 * dense(some.probs[which], some.points[which])
        anew = TraceState.of(some, 0.3, fisher, matrix.copy())
        np.testing.assert_allclose(state.inverse, anew.inverse, atol=1e-12)
        np.testing.assert_allclose(state.spreads, anew.spreads, atol=1e-12)
        np.testing.assert_allclose(state.shares, anew.shares, atol=1e-12)
    assert state.trace == pytest.approx(trace(matrix, fisher), rel=1e-12)


def test_a_sample_that_is_sure_of_its_class_changes_exactly_nothing() -> None:
    some = samples(12)
    some.probs[3] = [0, 1, 0]
    state, _, _ = state_of(some)
    assert state.changes(1)[3] == 0
    before = state.changes(1)
    state.update(3, 1)
    assert state.changes(1).tolist() == before.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 12), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32), st.data())
def test_adding_never_raises_the_trace_and_gains_are_what_it_loses(
    num: int, classes: int, width: int, seed: int, data: st.DataObject
) -> None:
    state, _, _ = state_of(samples(num, seed, classes, width))
    for which in data.draw(st.lists(st.integers(0, num - 1), max_size=6)):
        before, gain = state.trace, state.changes(1)[which]
        state.update(which, 1)
        assert gain >= 0
        assert state.trace == pytest.approx(before - gain, abs=1e-9 * max(before, 1))
        # Taking it off again would bring back as much.
        assert state.changes(-1)[which] == pytest.approx(gain, abs=1e-9 * max(before, 1))


def test_the_grid_of_blocks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers() -> list[float]:
        state, _, _ = state_of(samples(300))
        state.update(7, 1)
        answer: list[float] = state.changes(1).tolist()
        return answer

    whole = numbers()
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)
    assert numbers() == whole


def test_principal_directions_hold_what_there_is_of_low_rank() -> None:
    rng = np.random.default_rng(2)
    points = rng.standard_normal((1500, 2)) @ rng.standard_normal((2, 6))
    basis, _ = principal(points, np.ones(1500), 2)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(points @ basis @ basis.T, points, atol=1e-10)


def test_a_weight_counts_a_point_so_many_times() -> None:
    points = np.array([[1.0, 0.0], [0.0, 1.5]])
    directions, lengths = principal(points, np.ones(2), 1)
    np.testing.assert_allclose(np.abs(directions), [[0], [1]], atol=1e-15)
    assert lengths[0] == pytest.approx(np.sqrt(2.25 / 2))
    directions, lengths = principal(points, np.array([3.0, 1.0]), 1)
    np.testing.assert_allclose(np.abs(directions), [[1], [0]], atol=1e-15)
    assert lengths[0] == pytest.approx(np.sqrt(3 / 4))


def test_directions_without_points_have_a_length() -> None:
    assert principal(np.zeros((3, 2)), np.ones(3), 2)[1].tolist() == [2.0**-20, 2.0**-20]
    _, lengths = principal(np.array([[8.0, 0.0]]), np.ones(1), 2)
    assert lengths.tolist() == [8, 8 * 2.0**-20]
