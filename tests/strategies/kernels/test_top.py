from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.kernels.top import first_rows


def test_equal_keys_are_ordered_by_row() -> None:
    assert first_rows(np.array([2.0, 1.0, 2.0, 1.0, 2.0]), 4).tolist() == [1, 3, 0, 2]


def test_second_keys_order_equal_first_keys() -> None:
    keys, ties = np.array([1.0, 1.0, 0.0, 1.0]), np.array([3.0, 2.0, 9.0, 2.0])
    rows = first_rows(keys, 4, ties=lambda tied: ties[tied])
    assert rows.tolist() == [2, 1, 3, 0]


def test_infinite_keys_have_their_place() -> None:
    assert first_rows(np.array([np.inf, 0.0, -np.inf, np.inf]), 3).tolist() == [2, 1, 0]


def test_large_unsigned_keys_keep_all_their_bits() -> None:
    keys = np.array([2**64 - 1, 2**64 - 2, 2**63], np.uint64)
    assert first_rows(keys, 2).tolist() == [2, 1]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.data())
def test_equals_a_stable_sort_cut_off(values: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(values)))
    ordered = sorted(range(len(values)), key=lambda row: (values[row], row))
    assert first_rows(np.array(values, np.float64), count).tolist() == ordered[:count]


@pytest.mark.parametrize("count", [1, 500, 3000])
def test_ties_across_a_large_array_are_the_first_rows(count: int) -> None:
    assert first_rows(np.zeros(3000), count).tolist() == list(range(count))
