from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool

from strategies import Candidates, CoreSet, Kept, Selection
from strategies.base import Doubles, Floats, Rows
from strategies.kernels.distances import CentredPool


def ask(pool: Candidates, batch_size: int) -> Selection:
    return CoreSet().select(pool, batch_size, np.random.default_rng(0))


class Study:
    """Samples of which some are labelled, as a pool for the next round."""

    def __init__(self, points: Floats, labelled: list[int], *, names: bool = False) -> None:
        self.points = points
        self.labelled = labelled
        numbers = np.arange(len(points))
        self.ids = np.array([f"s{n:04}" for n in numbers]) if names else numbers

    def pool(self, kept: Kept | None = None) -> Candidates:
        labelled = np.array(self.labelled, np.int64)
        left = np.setdiff1d(np.arange(len(self.points)), labelled)
        return Candidates(
            ids=self.ids[left],
            embeddings=self.points[left],
            labelled_ids=self.ids[labelled],
            labelled_embeddings=self.points[labelled],
            kept=kept,
        )

    def label(self, batch: Selection) -> None:
        self.labelled += np.flatnonzero(np.isin(self.ids, batch.ids)).tolist()


def points_of(kind: str, num: int = 400) -> Floats:
    rng = np.random.default_rng(7)
    points = rng.standard_normal((num, 6))
    if kind == "few distinct":
        points = points[rng.integers(0, 30, num)]
    if kind == "tight clusters":
        points = 1e-3 * points + 100 * rng.integers(0, 4, (num, 1))
    if kind == "offset":
        points += 1e4
    return points.astype(np.float32)


def assert_equal(batch: Selection, expected: Selection) -> None:
    assert batch.ids.tolist() == expected.ids.tolist()
    assert batch.scores.tolist() == expected.scores.tolist()


def rows_met(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> int:
    """How many pairs of rows and centres were multiplied in float32 during `work`."""
    pairs = 0
    plain = CentredPool.upper_bounds

    def counted(self: CentredPool, rows: Rows, centres: Floats, skips: Rows) -> Doubles:
        nonlocal pairs
        pairs += len(rows) * len(centres) - int(skips.sum())
        return plain(self, rows, centres, skips)

    with monkeypatch.context() as patch:
        patch.setattr(CentredPool, "upper_bounds", counted)
        work()
    return pairs


def test_the_farthest_sample_is_asked_for_first() -> None:
    points = np.array([[0, 0], [1, 0], [5, 0], [0, 3]], np.float32)
    batch = ask(Study(points, [0]).pool(), 3)
    assert batch.ids.tolist() == [2, 3, 1]
    np.testing.assert_allclose(batch.scores, [5, 3, 1])


def test_a_labelled_twin_of_a_pick_takes_the_pick_away() -> None:
    points = np.array([[0, 0], [1, 0], [5, 0], [0, 3], [5, 0]], np.float32)
    assert ask(Study(points, [0, 4]).pool(), 1).ids.tolist() == [3]


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("kind", ["plain", "few distinct", "tight clusters", "offset"])
def test_rounds_with_what_was_kept_select_as_rounds_without(kind: str, names: bool) -> None:
    study, kept = Study(points_of(kind), [], names=names), None
    while len(study.labelled) < 380:
        expected = ask(study.pool(), 20)
        batch = ask(study.pool(kept), 20)
        assert_equal(batch, expected)
        study.label(batch)
        kept = batch.keep


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_history_makes_what_was_kept_change_a_selection(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    num = data.draw(st.integers(4, 60))
    points = rng.integers(-2, 3, (num, 2)).astype(np.float32) + np.float32(0.25)
    study = Study(points, data.draw(st.lists(st.integers(0, num - 1), unique=True, max_size=3)))
    kept = None
    for _ in range(4):
        pool = study.pool(kept)
        if len(pool) == 0:
            break
        batch_size = data.draw(st.integers(1, len(pool)))
        batch = ask(pool, batch_size)
        assert_equal(batch, ask(study.pool(), batch_size))
        kept = data.draw(st.sampled_from([batch.keep, kept, None]))
        study.label(batch)
        # Others are labelled besides, or labels are taken back.
        left = np.setdiff1d(np.arange(num), study.labelled).tolist()
        if left and data.draw(st.booleans()):
            study.labelled.append(data.draw(st.sampled_from(left)))
        if data.draw(st.integers(0, 4)) == 0:
            study.labelled.pop(0)
        if data.draw(st.booleans()):
            study.labelled.reverse()


def two_rounds(num: int = 400) -> tuple[Study, Kept]:
    study = Study(points_of("plain", num), list(range(50, 150)))
    batch = ask(study.pool(), 30)
    study.label(batch)
    assert batch.keep is not None
    return study, batch.keep


def test_what_was_kept_saves_the_meeting_of_old_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    study, kept = two_rounds()
    afresh = rows_met(monkeypatch, lambda: ask(study.pool(), 30))
    onwards = rows_met(monkeypatch, lambda: ask(study.pool(kept), 30))
    assert afresh >= 270 * 130
    assert onwards <= 270 * 60


def test_more_labels_than_were_asked_for_are_met_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    study, kept = two_rounds()
    study.labelled += [0, 1, 2]
    assert_equal(ask(study.pool(kept), 30), ask(study.pool(), 30))
    assert rows_met(monkeypatch, lambda: ask(study.pool(kept), 30)) <= 267 * 63


def test_the_order_of_labelled_samples_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    study, kept = two_rounds()
    expected = ask(study.pool(), 30)
    np.random.default_rng(0).shuffle(study.labelled)
    assert_equal(ask(study.pool(kept), 30), expected)
    assert rows_met(monkeypatch, lambda: ask(study.pool(kept), 30)) <= 270 * 60


def test_samples_that_leave_the_pool_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    study, kept = two_rounds()
    some = study.pool().take(np.arange(0, 270, 2))
    with_kept = replace(some, kept=kept)
    assert_equal(ask(with_kept, 30), ask(some, 30))
    assert rows_met(monkeypatch, lambda: ask(with_kept, 30)) <= 135 * 60


def of_other_ids(kept: Kept) -> Kept:
    return replace(kept, ids=np.arange(len(kept.ids)) + 1)


def of_named_ids(kept: Kept) -> Kept:
    return replace(kept, ids=np.array([f"s{n:04}" for n in kept.ids]))


def with_array(name: str, change: Callable[[Any], Any]) -> Callable[[Kept], Kept]:
    return lambda kept: replace(kept, arrays={**kept.arrays, name: change(kept.arrays[name])})


def without_an_array(kept: Kept) -> Kept:
    return replace(kept, arrays={"squares": kept.arrays["squares"]})


DAMAGES = {
    "other ids": of_other_ids,
    "named ids": of_named_ids,
    "an array is missing": without_an_array,
    "an array is short": with_array("squares", lambda array: array[:-1]),
    "an array is of another type": with_array("num_met", lambda array: array.astype(float)),
    "NaN": with_array("squares", lambda array: np.full_like(array, np.nan)),
    "negative squares": with_array("squares", lambda array: -1 - array),
    "more met than there are": with_array("num_met", lambda array: array + 1000),
    "no centre": with_array("centre", lambda array: np.full_like(array, -1)),
    "other embeddings": with_array("mark", lambda array: array + np.uint64(1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_fit_is_ignored(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, kept = two_rounds()
    damaged = DAMAGES[damage](kept)
    assert_equal(ask(study.pool(damaged), 30), ask(study.pool(), 30))
    assert rows_met(monkeypatch, lambda: ask(study.pool(damaged), 30)) >= 270 * 130


@pytest.mark.parametrize("row", [0, 60])  # a candidate, a labelled sample
def test_one_changed_embedding_makes_it_start_afresh(
    row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, kept = two_rounds()
    study.points[row, 0] = np.nextafter(study.points[row, 0], np.float32(9))
    assert_equal(ask(study.pool(kept), 30), ask(study.pool(), 30))
    assert rows_met(monkeypatch, lambda: ask(study.pool(kept), 30)) >= 270 * 130


def test_a_label_taken_back_makes_it_start_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    study, kept = two_rounds()
    study.labelled.remove(60)
    assert_equal(ask(study.pool(kept), 30), ask(study.pool(), 30))
    assert rows_met(monkeypatch, lambda: ask(study.pool(kept), 30)) >= 271 * 129


def test_a_candidate_that_was_none_makes_it_start_afresh() -> None:
    study, _ = two_rounds()
    batch = ask(study.pool().take(np.arange(1, 270)), 10)
    study.label(batch)
    assert_equal(ask(study.pool(batch.keep), 30), ask(study.pool(), 30))


def test_integer_ids_may_meet_an_empty_list_of_names() -> None:
    pool = replace(Study(points_of("plain"), []).pool(), labelled_ids=np.array([], dtype=np.str_))
    kept = ask(pool, 5).keep
    assert kept is not None
    assert kept.ids.dtype == np.int64


@pytest.mark.parametrize("kind", ["spread", "clusters", "duplicates", "far_from_origin"])
def test_half_precision_files_select_as_their_values(kind: str, tmp_path: Path) -> None:
    pool = build_pool(kind, num=300)
    assert pool.embeddings is not None
    halves: Any = pool.embeddings.astype(np.float16)
    np.save(tmp_path / "embeddings.npy", halves)
    in_memory = ask(replace(pool, embeddings=halves), 200)
    on_disk = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    assert_equal(ask(replace(pool, embeddings=on_disk), 200), in_memory)
    assert_equal(ask(replace(pool, embeddings=halves.astype(np.float32)), 200), in_memory)
