"""Matching a target by few gradients, against least squares on gradients written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import log_softmax
from scipy.optimize import nnls

from strategies.base import Doubles
from strategies.kernels.exact import ExactPool
from strategies.kernels.factored import FactoredPool
from strategies.kernels.matching import RidgeFit, match_fixed, match_pursuit


def gradients(num: int, seed: int, classes: int = 3, width: int = 4) -> FactoredPool:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.standard_normal((num, classes)))
    points = ExactPool.of(rng.standard_normal((num, width)))
    return FactoredPool.of(log_probs, points, bias=False)


def flat(pool: FactoredPool) -> Doubles:
    """(N, C D)."""
    one = np.ones(1)
    return np.array([pool.at(np.array([row])).matrix(one).ravel() for row in range(len(pool))])


def least_squares(rows: Doubles, target: Doubles, ridge: float) -> Doubles:
    """The least squares, w >= 0, of |rows^T w - target|² + ridge |w|²."""
    wide = np.vstack([rows.T, np.sqrt(ridge) * np.eye(len(rows))])
    weights: Doubles = nnls(wide, np.concatenate([target.ravel(), np.zeros(len(rows))]))[0]
    return weights


def one_number(values: list[float]) -> FactoredPool:
    """Gradients (-h / 2, h / 2) of two equal classes."""
    log_probs = np.log(np.full((len(values), 2), 0.5))
    return FactoredPool.of(log_probs, ExactPool.of(np.array(values)[:, None]), bias=False)


def test_fixed_picks_on_paper() -> None:
    # Gradients h (-1, 1) / 2, target 5 (-1, 1) / 2, so distances are those of numbers, over 2:
    # 4 takes 25 - 1 off, of the others 1 takes 1 off, and -3 is far.
    match = match_fixed(one_number([1, 4, -3, 9]), np.array([[-2.5], [2.5]]), 3)
    assert match.rows.tolist() == [1, 0, 2]
    assert match.scores.tolist() == pytest.approx([12, 0.5, -4.5])
    assert match.residual == pytest.approx(3 / 5)


def test_pursuit_on_paper() -> None:
    # The longest comes first and alone reaches 5 with weight 5/9, but for the ridge; after it
    # nothing is left that points to the target, except for what the ridge holds back.
    match = match_pursuit(one_number([1, 4, -3, 9]), np.array([[-2.5], [2.5]]), 1, ridge=1e-9)
    assert match.rows.tolist() == [3]
    assert match.weights.tolist() == pytest.approx([5 / 9])
    assert match.residual == pytest.approx(0, abs=1e-8)


def test_without_a_target_the_shortest_come_first() -> None:
    pool = gradients(30, 1)
    for match in (
        match_fixed(pool, np.zeros((3, 4)), 1),
        match_pursuit(pool, np.zeros((3, 4)), 1, ridge=0.5),
    ):
        assert match.rows.tolist() == [int(pool.squared_norms.argmin())]
        assert match.pursued == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 25), st.integers(0, 2**32), st.sampled_from([1e-6, 0.05, 2.0]))
def test_weights_are_the_least_squares_at_every_step(num: int, seed: int, ridge: float) -> None:
    pool = gradients(num, seed)
    target = np.random.default_rng(seed).standard_normal((3, 4)) * 3
    rows = flat(pool)
    fit = RidgeFit(pool, target, num, ridge)
    for row in range(num):
        residual = fit.add(row)
        expected = least_squares(rows[: row + 1], target, ridge)
        np.testing.assert_allclose(fit.weights, expected, atol=1e-6 * max(1, expected.max()))
        left = target.ravel() - rows[: row + 1].T @ fit.weights
        np.testing.assert_allclose(residual.ravel(), left, atol=1e-9)
        assert (fit.weights >= 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32))
def test_fixed_picks_are_the_plain_greedy_ones(num: int, seed: int) -> None:
    pool = gradients(num, seed)
    rows = flat(pool)
    target = rows.sum(axis=0) / 3  # over 2 two gradients would tie, but for rounding
    match = match_fixed(pool, target.reshape(3, 4), num)
    left = target.copy()
    picked: list[int] = []
    for score in match.scores:
        falls = (left**2).sum() - ((left - rows) ** 2).sum(axis=1)
        falls[picked] = -np.inf
        picked.append(int(falls.argmax()))
        assert score == pytest.approx(falls.max(), abs=1e-6)
        left -= rows[picked[-1]]
    assert match.rows.tolist() == picked
    size = np.sqrt((target**2).sum())
    assert match.residual == pytest.approx(np.sqrt((left**2).sum()) / size, abs=1e-9)


def test_pursuit_never_comes_less_near_with_one_more_pick() -> None:
    pool = gradients(80, 3)
    target = pool.total() / 4
    distances = [match_pursuit(pool, target, k, ridge=1e-6).residual for k in range(1, 14)]
    assert (np.diff(distances) <= 1e-6).all()
    assert distances[-1] < 1e-3


def test_what_pursuit_leaves_open_is_filled_by_the_fixed_rule() -> None:
    # One number is reached by the first pick: no gradient points to a residual of 0. What the
    # ridge holds back is beneath notice.
    pool = one_number([9, 1, 4, -3])
    match = match_pursuit(pool, np.array([[-4.5], [4.5]]), 4, ridge=1e-12)
    assert match.pursued == 1
    assert match.rows.tolist() == [0, 1, 3, 2]
    np.testing.assert_allclose(match.weights, np.ones(4), atol=1e-9)


def test_twins_share_a_weight() -> None:
    pool = one_number([3, 3, 3, 3, 1])
    match = match_pursuit(pool, np.array([[-6.0], [6.0]]), 4, ridge=0.01)
    assert match.rows.tolist() == [0, 1, 2, 3]
    # 4 w · 4.5 + 0.01 w = <g, T> = 18
    assert match.weights.tolist() == pytest.approx([18 / 18.01] * 4)


def test_a_ridge_too_small_for_float64_is_raised() -> None:
    pool = one_number([3, 3, 3, 3, 1])
    match = match_pursuit(pool, np.array([[-6.0], [6.0]]), 1, ridge=1e-300)
    assert match.weights.tolist() == pytest.approx([4])
    fit = RidgeFit(pool, np.array([[-6.0], [6.0]]), 4, 2.0**-36 * 4.5)
    for row in range(4):
        fit.add(row)
    assert fit.weights.sum() == pytest.approx(4)
