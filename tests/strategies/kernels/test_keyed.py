from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.base import Ids
from strategies.kernels.keyed import item_noise, row_marks, word_of

NAMES = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=8), min_size=1)
KEYS = st.integers(0, 2**64 - 1)


@given(NAMES, KEYS)
def test_width_of_the_array_does_not_matter(names: list[str], key: int) -> None:
    narrow = np.array(names, np.str_)
    wide = narrow.astype("U40")
    assert item_noise(narrow, key).tolist() == item_noise(wide, key).tolist()


@given(NAMES, KEYS)
def test_other_items_do_not_matter(names: list[str], key: int) -> None:
    alone = [int(item_noise(np.array([name], np.str_), key)[0]) for name in names]
    assert item_noise(np.array(names, np.str_), key).tolist() == alone


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1), KEYS)
def test_integers_are_hashed_by_value(numbers: list[int], key: int) -> None:
    narrow: Ids = np.array(numbers, np.int32)  # type: ignore[assignment]  # narrower on purpose
    wide = np.array(numbers, np.int64)
    assert item_noise(narrow, key).tolist() == item_noise(wide, key).tolist()


def test_a_null_inside_a_name_counts() -> None:
    words = item_noise(np.array(["a\0b", "ab", "a"]), 1)
    assert len(set(words.tolist())) == 3


@pytest.mark.parametrize("ids", [np.arange(20_000), np.array([f"{k:05}" for k in range(20_000)])])
def test_words_are_distinct_and_every_bit_is_fair(ids: np.ndarray) -> None:
    words = item_noise(ids, 7)
    assert len(np.unique(words)) == len(ids)
    bits = (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(len(ids))


def test_keys_give_unrelated_words() -> None:
    ids = np.arange(20_000)
    first, second = (item_noise(ids, key) / 2.0**64 for key in (1, 2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / np.sqrt(len(ids))


def test_a_mark_tells_rows_by_their_numbers_alone() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(-3, 4, (500, 5)).astype(np.float32)
    marks = row_marks(rows)
    distinct = len(np.unique(rows, axis=0))
    assert len(np.unique(marks)) == distinct
    assert row_marks(rows.astype(np.float16)).tolist() == marks.tolist()
    assert row_marks(rows[::-1]).tolist() == marks[::-1].tolist()
    assert row_marks(np.array([[0.0, 1.0]])).tolist() == row_marks(np.array([[-0.0, 1.0]])).tolist()


def test_a_mark_sees_small_numbers_beside_a_huge_one() -> None:
    assert row_marks(np.array([[1e20, 1.0]])) != row_marks(np.array([[1e20, 2.0]]))


def test_a_text_has_a_word_of_its_own() -> None:
    assert word_of("a") == word_of("a") != word_of("b")
