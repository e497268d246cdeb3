"""Gradients as factors, against gradients written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool, log_softmax

from strategies import Candidates
from strategies.base import Doubles, Rows
from strategies.kernels import blocks
from strategies.kernels.exact import ExactPool, Points
from strategies.kernels.factored import FactoredPool, pseudo_labels, residuals_of


def written_out(log_probs: Points, points: Points, labels: Rows, *, bias: bool) -> Doubles:
    """(N, C, D + 1), or (N, C, D) without bias."""
    residuals = np.exp(log_probs.astype(np.float64)) - np.eye(log_probs.shape[1])[labels]
    wide = points.astype(np.float64)
    if bias:
        wide = np.hstack([wide, np.ones((len(wide), 1))])
    return residuals[:, :, None] * wide[:, None]


def both(pool: Candidates, *, bias: bool) -> tuple[FactoredPool, Doubles]:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    factored = FactoredPool.of(pool.log_probs, ExactPool.of(pool.embeddings), bias=bias)
    labels = pseudo_labels(pool.log_probs)
    return factored, written_out(pool.log_probs, pool.embeddings, labels, bias=bias)


def matrix_for(gradients: Doubles) -> Doubles:
    return np.random.default_rng(3).standard_normal(gradients.shape[1:])


def test_a_gradient_is_the_residual_times_the_embedding() -> None:
    log_probs = np.log(np.array([[0.75, 0.25]]))
    pool = FactoredPool.of(log_probs, ExactPool.of(np.array([[2.0, -4.0]])), bias=True)
    # (p - e_0) ⊗ (h, 1) = (-1/4, 1/4) ⊗ (2, -4, 1)
    np.testing.assert_allclose(pool.total(), [[-0.5, 1, -0.25], [0.5, -1, 0.25]])
    np.testing.assert_allclose(pool.squared_norms, [2 / 16 * 21])


def test_the_residual_of_a_sure_class_keeps_its_digits() -> None:
    log_probs = np.array([[-1e-12, np.log(1e-12)]])
    np.testing.assert_allclose(residuals_of(log_probs, np.array([0])), [[-1e-12, 1e-12]])


def test_of_equal_classes_the_first_is_the_likeliest() -> None:
    assert pseudo_labels(np.log(np.array([[0.2, 0.4, 0.4]]))).tolist() == [1]


def test_a_class_that_was_ruled_out_may_be_the_label() -> None:
    log_probs = np.array([[0.0, -np.inf]])
    assert residuals_of(log_probs, np.array([1])).tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("bias", [False, True])
def test_all_products_equal_those_written_out(pool: Candidates, bias: bool) -> None:
    factored, gradients = both(pool, bias=bias)
    rows = gradients.reshape(len(gradients), -1)
    size = max(float((rows**2).sum(axis=1).max()), 1e-30)
    few = factored.at(np.arange(min(5, len(pool))))
    products = factored.products(few)
    np.testing.assert_allclose(products, rows[:5] @ rows.T, atol=1e-6 * size)
    np.testing.assert_allclose(factored.squared_norms, (rows**2).sum(axis=1), atol=1e-6 * size)
    distances = ((rows[:5, None] - rows) ** 2).sum(axis=2)
    if size < 1e3:  # an exponential of a rounded distance has no digits left beyond
        near = factored.similarities(few)
        np.testing.assert_allclose(near, np.exp(-distances / 2), atol=1e-5)
    matrix = matrix_for(gradients)
    np.testing.assert_allclose(
        factored.along(matrix), (gradients * matrix).sum(axis=(1, 2)), atol=1e-6 * size + 1e-6
    )
    total = gradients.sum(axis=0)
    np.testing.assert_allclose(factored.total(), total, atol=1e-6 * max(float(total.max()), 1))


@pytest.mark.parametrize("bias", [False, True])
def test_a_gradient_is_exactly_similar_to_itself(pool: Candidates, bias: bool) -> None:
    factored, _ = both(pool, bias=bias)
    table = factored.similarities(factored.at(np.arange(len(pool))))
    assert (np.diag(table) == 1).all()
    assert (table == table.T).all()


def test_equal_rows_have_equal_numbers_to_the_last_bit() -> None:
    factored, gradients = both(build_pool("duplicates", num=70), bias=True)
    few = factored.at(np.arange(70))
    for numbers in (factored.along(matrix_for(gradients)), *factored.products(few)):
        assert numbers.tolist() == numbers[np.arange(70) % 7].tolist()


@pytest.mark.parametrize("block_rows", [7, 64])
def test_the_grid_of_blocks_changes_no_bit(
    pool: Candidates, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbers() -> list[list[float]]:
        factored, gradients = both(pool, bias=True)
        few = factored.at(np.arange(min(3, len(pool))))
        along = factored.along(matrix_for(gradients))
        return [along.tolist(), factored.total().tolist(), factored.products(few).tolist()]

    whole = numbers()
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    assert numbers() == whole


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32))
def test_weighted_sums_equal_those_written_out(
    num: int, classes: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.standard_normal((num, classes)))
    points = rng.standard_normal((num, width)) * 10.0 ** rng.integers(-3, 4, (num, 1))
    labels = rng.integers(0, classes, num)
    pool = FactoredPool.of(log_probs, ExactPool.of(points), bias=True, labels=labels)
    weights = rng.random(num)
    expected = (written_out(log_probs, points, labels, bias=True) * weights[:, None, None]).sum(0)
    size = float(np.abs(points).max()) * num
    got = pool.at(np.arange(num)).matrix(weights)
    np.testing.assert_allclose(got, expected, atol=1e-6 * max(size, 1))
