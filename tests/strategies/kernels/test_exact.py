"""Arithmetic that does not round, so that nobody's order of adding matters."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.base import Doubles
from strategies.kernels import blocks
from strategies.kernels.exact import ExactPool, exact_rows, mean_of, on_sum_grid


def drawn(num: int, width: int, *, seed: int = 0, scale: float = 1.0) -> Doubles:
    return np.random.default_rng(seed).standard_normal((num, width)) * scale


def fraction_of(row: Doubles, scale: float = 1.0) -> list[Fraction]:
    return [Fraction(float(x)) * Fraction(scale) for x in row]


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_a_product_is_the_exact_product_of_the_rounded_rows(unit: bool, scale: float) -> None:
    left = exact_rows(drawn(4, 300, scale=scale), unit=unit)
    right = exact_rows(drawn(3, 300, seed=1, scale=scale), unit=unit)
    table = left.products(right)
    for i, j in np.ndindex(table.shape):
        a = fraction_of(left.values[i], float(left.scales[i]))
        b = fraction_of(right.values[j], float(right.scales[j]))
        assert Fraction(float(table[i, j])) == sum(x * y for x, y in zip(a, b, strict=True))


def test_rounding_moves_a_product_of_unit_vectors_by_far_less_than_float32_does() -> None:
    rows = drawn(200, 512)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    exact = exact_rows(rows, unit=True)
    assert np.abs(exact.products(exact) - rows @ rows.T).max() < 5e-8


def test_equal_rows_have_equal_products_wherever_they_stand() -> None:
    rows = np.repeat(drawn(1, 513), 37, axis=0)
    table = exact_rows(rows).products(exact_rows(drawn(5, 513, seed=2)))
    assert (table == table[0]).all()
    assert (exact_rows(rows).squared_distances(exact_rows(rows)) == 0).all()


def test_the_order_of_the_coordinates_does_not_matter() -> None:
    rows, order = drawn(20, 100), np.random.default_rng(3).permutation(100)
    straight, shuffled = exact_rows(rows), exact_rows(rows[:, order])
    assert straight.products(straight).tolist() == shuffled.products(shuffled).tolist()


def test_rows_of_zeros_stay_zeros() -> None:
    rows = exact_rows(np.zeros((2, 3)), unit=True)
    assert not rows.values.any()
    assert rows.squared_distances(rows).tolist() == [[0, 0], [0, 0]]


def test_distances_to_a_longer_row_are_right_to_its_precision() -> None:
    left, right = np.array([[1.0, 0.0]]), np.array([[0.0, 1000.0]])
    squares = exact_rows(left).squared_distances(exact_rows(right))
    assert squares.tolist() == [[1_000_001.0]]


@pytest.mark.parametrize("block_rows", [3, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_pool_rounds_as_its_rows_do(
    block_rows: int, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    points: npt.NDArray[np.floating] = drawn(50, 6).astype(dtype)
    mean = mean_of(points)
    expected = exact_rows(points, mean=mean)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    pool = ExactPool.of(points, mean=mean, threads=2)
    rows = np.array([7, 3, 49])
    assert pool.at(rows).values.tolist() == expected.take(rows).values.tolist()
    assert pool.at(rows).scales.tolist() == expected.take(rows).scales.tolist()
    assert pool.block(slice(5, 9)).squares.tolist() == expected.take(slice(5, 9)).squares.tolist()


def test_a_pool_too_large_to_keep_rounds_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    points = drawn(50, 6).astype(np.float32)
    kept = ExactPool.of(points, unit=True)
    monkeypatch.setattr("strategies.kernels.exact._KEPT_BYTES", 0)
    large = ExactPool.of(points, unit=True)
    assert large._rounded is None
    rows = np.array([9, 8, 30])
    assert large.at(rows).values.tolist() == kept.at(rows).values.tolist()
    assert large.total().tolist() == kept.total().tolist()


def test_the_total_of_unit_vectors_does_not_depend_on_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = ExactPool.of(drawn(500, 9).astype(np.float32), unit=True)
    whole = pool.total().tolist()
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)
    assert pool.total().tolist() == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_sums_on_the_grid_are_the_same_in_any_order(values: list[float], shuffler: Random) -> None:
    rounded = on_sum_grid(np.array(values))
    assert np.abs(rounded - values).max() <= 2.0**-31
    again = rounded.tolist()
    shuffler.shuffle(again)
    total = 0.0
    for value in again:
        total += value
    assert total == rounded.sum() == float(sum(map(Fraction, rounded.tolist())))
