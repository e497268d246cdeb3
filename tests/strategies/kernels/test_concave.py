from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plainly import greedy

from strategies.base import Doubles
from strategies.kernels.concave import Concave, concave_greedy

FUNCTIONS: dict[Concave, Callable[[Doubles], Doubles]] = {
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "inverse": lambda amounts: amounts / (1 + amounts),
}


def plain(features: Doubles, count: int, concave: Concave) -> tuple[list[int], list[float]]:
    """The function of every set with one more row, less that of the set."""
    value = FUNCTIONS[concave]

    def gains(picks: list[int]) -> Doubles:
        have = features[picks].sum(axis=0)
        result: Doubles = (value(have + features) - value(have)).sum(axis=1)
        return result

    return greedy(gains, count)


def test_a_feature_seen_before_is_worth_less() -> None:
    points = np.array([[3, 0], [8, 0], [0, 3], [0, 0]], np.float32)
    result = concave_greedy(points, 4, "sqrt", split=True)
    assert result.rows.tolist() == [1, 2, 0, 3]
    root = np.sqrt
    np.testing.assert_allclose(result.gains, [root(8), root(3), root(11) - root(8), 0])


def test_a_negative_value_is_a_feature_of_its_own_or_nothing() -> None:
    points = np.array([[3, 0], [-2, 0], [1, 1]], np.float32)
    split = concave_greedy(points, 3, "inverse", split=True)
    assert split.rows.tolist() == [2, 1, 0]
    np.testing.assert_allclose(split.gains, [1, 2 / 3, 4 / 5 - 1 / 2])
    clipped = concave_greedy(points, 3, "inverse", split=False)
    assert clipped.rows.tolist() == [2, 0, 1]
    np.testing.assert_allclose(clipped.gains, [1, 4 / 5 - 1 / 2, 0])


@pytest.mark.parametrize("concave", list(FUNCTIONS))
@given(seed=st.integers(0, 10**6), num=st.integers(1, 80))
@settings(deadline=None, max_examples=20)
def test_equals_the_plain_algorithm(concave: Concave, seed: int, num: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((num, 5)).astype(np.float32)
    result = concave_greedy(points, num, concave, split=True)
    features = np.concatenate((np.maximum(points, 0), np.maximum(-points, 0)), axis=1)
    rows, gains = plain(features.astype(np.float64), num, concave)
    assert result.rows.tolist() == rows
    np.testing.assert_allclose(result.gains, gains, atol=1e-9)


@pytest.mark.parametrize("concave", list(FUNCTIONS))
def test_equal_rows_are_picked_by_row_whatever_the_threads(concave: Concave) -> None:
    rng = np.random.default_rng(0)
    which = rng.integers(0, 20, 300)
    points = np.abs(rng.standard_normal((20, 37))).astype(np.float32)[which]
    whole = concave_greedy(points, 300, concave, split=True, threads=1)
    order = whole.rows.tolist()
    for kind in range(20):
        rows = [row for row in order if which[row] == kind]
        assert rows == sorted(rows)
    again = concave_greedy(points, 300, concave, split=True, threads=7)
    assert again.rows.tolist() == order
    assert again.gains.tolist() == whole.gains.tolist()


def test_few_gains_are_computed_again() -> None:
    points = np.random.default_rng(1).gamma(0.3, size=(3000, 64)).astype(np.float32)
    result = concave_greedy(points, 50, "log1p", split=True)
    assert result.num_evaluated < 3000 * 50 / 5


def test_huge_and_tiny_amounts_are_no_trouble() -> None:
    points = np.array([[3e38, 0], [1e-45, 1e-45], [0, 0], [3e38, 3e38]], np.float32)
    for concave in FUNCTIONS:
        result = concave_greedy(points, 4, concave, split=True)
        assert result.rows[0] == 3
        assert np.isfinite(result.gains).all()
