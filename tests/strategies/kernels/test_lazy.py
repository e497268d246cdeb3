from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plainly import greedy

from strategies.base import Doubles, Rows
from strategies.kernels.lazy import lazy_greedy


class Sets:
    """Rows are sets of elements, with a price each; the gain is the weight of what is new."""

    def __init__(self, contains: Doubles, weights: Doubles, prices: Doubles) -> None:
        self.contains = contains  # (N, elements) of 0 and 1
        self.weights = weights
        self.prices = prices
        self.is_new = np.ones(len(weights))
        self.picks: list[int] = []
        self.num_evaluated = 0

    def gains(self, picks: list[int]) -> Doubles:
        is_new = ~self.contains[picks].any(axis=0)
        return np.asarray(self.contains @ (self.weights * is_new) - self.prices)

    def evaluate(self, rows: Rows) -> Doubles:
        assert not set(rows.tolist()) & set(self.picks)
        assert len({*rows.tolist()}) == len(rows)
        self.num_evaluated += len(rows)
        return self.gains(self.picks)[rows]

    def take(self, row: int) -> None:
        self.picks.append(row)


def test_what_is_new_counts_and_equals_go_by_row() -> None:
    contains = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 0, 0, 0]])
    sets = Sets(contains.astype(float), np.ones(5), np.zeros(4))
    result = lazy_greedy(np.full(4, np.inf), 4, sets.evaluate, sets.take)
    assert result.rows.tolist() == [0, 1, 2, 3]
    assert result.gains.tolist() == [3, 1, 1, 0]
    assert sets.picks == [0, 1, 2, 3]


@given(seed=st.integers(0, 10**6), num=st.integers(1, 40), batch=st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_equals_the_plain_algorithm(seed: int, num: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    contains = (rng.random((num, 12)) < 0.3).astype(float)
    weights, prices = rng.integers(0, 4, 12) / 4, rng.integers(0, 5, num) / 4
    sets = Sets(contains, weights, prices)
    count = int(rng.integers(0, num + 1))
    expected, gains = greedy(sets.gains, count)
    bounds = sets.gains([]) + rng.integers(0, 3, num)
    result = lazy_greedy(
        bounds, count, sets.evaluate, sets.take, batch=batch, largest_batch=2 * batch
    )
    assert result.rows.tolist() == expected
    assert result.gains.tolist() == gains
    assert result.num_evaluated == sets.num_evaluated


def test_few_gains_are_computed_where_picks_share_nothing() -> None:
    weights = np.arange(1000.0)
    sets = Sets(np.eye(1000), weights, np.zeros(1000))
    result = lazy_greedy(weights, 50, sets.evaluate, sets.take, batch=4)
    assert result.rows.tolist() == list(range(999, 949, -1))
    assert result.num_evaluated <= 4 * 50


def test_a_bound_that_cannot_fall_is_not_computed() -> None:
    sets = Sets(np.zeros((30, 2)), np.ones(2), np.zeros(30))
    result = lazy_greedy(np.zeros(30), 30, sets.evaluate, sets.take, least=0.0)
    assert result.rows.tolist() == list(range(30))
    assert result.num_evaluated == 0


def test_bounds_are_not_modified() -> None:
    bounds = np.full(4, 9.0)
    bounds.flags.writeable = False
    sets = Sets(np.eye(4), np.ones(4), np.zeros(4))
    lazy_greedy(bounds, 3, sets.evaluate, sets.take, slack=0.5)


@pytest.mark.parametrize("slack", [0.0, 1e-9])
def test_slack_finds_a_gain_that_rounding_has_raised(slack: float) -> None:
    # After the first pick the second row gains more than its bound said, and more than the third.
    table = np.array([[3.0, 1.0, 1.0 + 1e-12], [0.0, 1.0 + 2e-12, 1.0 + 1e-12]])
    picks: list[int] = []

    def evaluate(rows: Rows) -> Doubles:
        return np.asarray(table[min(len(picks), 1)][rows])

    result = lazy_greedy(np.full(3, np.inf), 2, evaluate, picks.append, slack=slack, batch=1)
    assert result.rows.tolist() == ([0, 1] if slack else [0, 2])


def test_slack_holds_below_zero_too() -> None:
    table = np.array([[3.0, -1.0, -1.0 + 1e-12], [0.0, -1.0 + 2e-12, -1.0 + 1e-12]])
    picks: list[int] = []

    def evaluate(rows: Rows) -> Doubles:
        return np.asarray(table[min(len(picks), 1)][rows])

    bounds = np.full(3, np.inf)
    result = lazy_greedy(bounds, 3, evaluate, picks.append, slack=1e-9, batch=1)
    assert result.rows.tolist() == [0, 1, 2]
