"""Images that repeat."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.datasets.base import Duplicates, Manifest
from al_orchestrator.datasets.duplicates import find_duplicates, pool_ids
from al_orchestrator.errors import DatasetError

Row = tuple[str, str, int]  # picture, split, label


def manifest_of(rows: list[Row]) -> Manifest:
    """A manifest with the ids a, b, c and so on."""
    pictures, splits, labels = zip(*rows, strict=True)
    return Manifest(
        ids=np.array([chr(97 + number) for number in range(len(rows))]),
        splits=np.array(splits),
        labels=np.array(labels, dtype=np.int64),
        image_hashes=np.array(pictures),
        classes=("no", "yes"),
        image_shape=(1, 1, 1),
        mean=(0.0,),
        std=(1.0,),
        fingerprint="",
    )


KEEP = Duplicates(across_splits="keep", within_pool="keep", conflicting="keep")
ROWS: list[Row] = [
    ("sun", "train", 0),  # a
    ("sun", "train", 0),  # b repeats a
    ("moon", "train", 0),  # c
    ("moon", "train", 1),  # d repeats c under another label
    ("star", "train", 1),  # e
    ("star", "test", 1),  # f repeats e
    ("rain", "val", 0),  # g
    ("rain", "test", 1),  # h repeats g under another label
    ("wind", "train", 1),  # i
]


def test_a_report_names_repeats_conflicts_leaks_and_what_held_out_splits_share() -> None:
    found = find_duplicates(manifest_of(ROWS))

    assert found.repeats.tolist() == ["b", "d", "f", "h"]
    assert found.conflicting.tolist() == ["d", "h"]
    assert found.leaking.tolist() == ["f"]
    assert found.shared.tolist() == ["h"]


def test_keeping_keeps_the_whole_train_split() -> None:
    ids, dropped = pool_ids(manifest_of(ROWS), KEEP)

    assert ids.tolist() == ["a", "b", "c", "d", "e", "i"]
    assert set(dropped.values()) == {0}


@pytest.mark.parametrize(
    ("rule", "left", "number"),
    [
        ("across_splits", "abcdi", 1),
        ("within_pool", "acei", 2),
        ("conflicting", "abei", 2),
    ],
)
def test_each_rule_drops_its_own(rule: str, left: str, number: int) -> None:
    policy = KEEP.model_copy(update={rule: "drop"})

    ids, dropped = pool_ids(manifest_of(ROWS), policy)

    assert "".join(ids) == left
    assert dropped[rule] == number
    assert sum(dropped.values()) == number


@pytest.mark.parametrize("rule", ["across_splits", "within_pool", "conflicting"])
def test_refusing_names_the_rule_and_the_number(rule: str) -> None:
    policy = KEEP.model_copy(update={rule: "refuse"})

    with pytest.raises(DatasetError, match=rf"\d training images .*duplicates\.{rule}"):
        pool_ids(manifest_of(ROWS), policy)


def test_refusing_accepts_a_source_without_duplicates() -> None:
    manifest = manifest_of([("sun", "train", 0), ("moon", "train", 1), ("star", "test", 0)])
    strict = Duplicates(across_splits="refuse", within_pool="refuse", conflicting="refuse")

    assert pool_ids(manifest, strict)[0].tolist() == ["a", "b"]


def test_unknown_labels_conflict_with_nothing() -> None:
    manifest = manifest_of([("sun", "train", -1), ("sun", "train", 1), ("moon", "test", 0)])

    assert find_duplicates(manifest).conflicting.tolist() == []
    ids, _ = pool_ids(manifest, KEEP.model_copy(update={"conflicting": "drop"}))
    assert ids.tolist() == ["a", "b"]


def test_a_pool_emptied_by_the_rules_is_refused() -> None:
    manifest = manifest_of([("sun", "train", 0), ("sun", "test", 0)])

    with pytest.raises(DatasetError, match="leave no training image"):
        pool_ids(manifest, Duplicates(across_splits="drop"))


def slow_report(rows: list[Row]) -> tuple[list[int], list[int], list[int], list[int]]:
    repeats, conflicting, leaking, shared = [], [], [], []
    for row, (picture, split, label) in enumerate(rows):
        earlier = [other for other in rows[:row] if other[0] == picture]
        if earlier:
            repeats.append(row)
            if label >= 0 and earlier[0][2] >= 0 and earlier[0][2] != label:
                conflicting.append(row)
        twins = {other[1] for other in rows if other[0] == picture}
        if split != "train" and "train" in twins:
            leaking.append(row)
        if split == "test" and "val" in twins:
            shared.append(row)
    return repeats, conflicting, leaking, shared


rows_of_any_kind = st.lists(
    st.tuples(
        st.sampled_from(["sun", "moon", "star", "rain"]),
        st.sampled_from(["train", "val", "test"]),
        st.integers(-1, 1),
    ),
    min_size=1,
    max_size=12,
)


@given(rows_of_any_kind)
def test_the_report_equals_a_comparison_of_every_pair(rows: list[Row]) -> None:
    manifest = manifest_of(rows)
    found = find_duplicates(manifest)

    for got, expected in zip(
        (found.repeats, found.conflicting, found.leaking, found.shared),
        slow_report(rows),
        strict=True,
    ):
        assert got.tolist() == manifest.ids[expected].tolist()


@given(rows_of_any_kind)
def test_a_pool_with_all_rules_on_drop_holds_each_picture_once_and_none_held_out(
    rows: list[Row],
) -> None:
    manifest = manifest_of([*rows, ("snow", "train", 0)])
    policy = Duplicates(across_splits="drop", within_pool="drop", conflicting="drop")

    ids, dropped = pool_ids(manifest, policy)

    chosen = manifest.rows_of(ids)
    pictures = manifest.image_hashes[chosen].tolist()
    assert len(set(pictures)) == len(pictures)
    assert not set(pictures) & set(manifest.image_hashes[manifest.splits != "train"].tolist())
    assert len(ids) + sum(dropped.values()) == (manifest.splits == "train").sum()
