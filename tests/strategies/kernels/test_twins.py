"""Which rows are equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from strategies.base import Floats
from strategies.kernels import blocks
from strategies.kernels.twins import twins_of


def test_groups_are_numbered_by_their_first_rows() -> None:
    rows = np.array([[1, 2], [3, 4], [1, 2], [5, 6], [3, 4], [1, 2]], np.float32)
    twins = twins_of(rows)
    assert twins.firsts.tolist() == [0, 1, 3]
    assert twins.group_of.tolist() == [0, 1, 0, 2, 1, 0]
    assert twins.sizes.tolist() == [3, 2, 1]


def test_rows_are_equal_only_if_they_are_in_every_array() -> None:
    left = np.array([[0.0], [0.0], [0.0]])
    right = np.array([[1.0], [2.0], [1.0]])
    assert twins_of(left, right).group_of.tolist() == [0, 1, 0]


def test_the_sign_of_zero_does_not_matter() -> None:
    assert twins_of(np.array([[0.0, 1.0], [-0.0, 1.0]])).firsts.tolist() == [0]


def test_minus_infinity_equals_itself() -> None:
    rows = np.array([[0.0, -np.inf], [-np.inf, 0.0], [0.0, -np.inf]], np.float32)
    assert twins_of(rows).group_of.tolist() == [0, 1, 0]


def test_the_grid_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).integers(0, 3, (200, 3)).astype(np.float32)
    whole = twins_of(rows)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)
    assert twins_of(rows).group_of.tolist() == whole.group_of.tolist()


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 3)),
        elements=st.sampled_from([-1.0, 0.0, 0.5]),
    )
)
def test_two_rows_share_a_group_if_and_only_if_they_are_equal(rows: Floats) -> None:
    twins = twins_of(rows)
    same = (rows[:, None] == rows).all(axis=2)
    assert (same == (twins.group_of[:, None] == twins.group_of)).all()
    assert (rows[twins.firsts[twins.group_of]] == rows).all()
