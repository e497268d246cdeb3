from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plainly import SUMS, coverage_gains, greedy, rounded

from strategies import Candidates
from strategies.base import Doubles
from strategies.kernels import blocks, coverage, exact
from strategies.kernels.coverage import cover
from strategies.kernels.similarity import Similarity, gaussian


def plain(similarity: Similarity, count: int, **options: Doubles) -> tuple[list[int], list[float]]:
    """All similarities, all gains before each pick."""
    num = len(similarity)
    worths = similarity.columns(similarity.at(np.arange(num)))
    worths = rounded(worths * options.get("weights", np.ones(num))[:, None], SUMS)
    worths = np.minimum(worths, rounded(options.get("caps", np.ones(num)), SUMS)[:, None])
    reached = rounded(options.get("reached", np.zeros(num)), SUMS)
    return greedy(coverage_gains(worths, reached), count)


def test_a_pick_for_each_direction_and_then_nothing_is_left_to_gain() -> None:
    points = np.array([[1, 0], [2, 0], [3, 0], [0, 5], [0, 1]], np.float32)
    result = cover(Similarity.of_embeddings(points), 5)
    # 3 + 2/2, then 2 * (1 - 1/2).
    assert result.rows.tolist() == [0, 3, 1, 2, 4]
    assert result.gains.tolist() == [4, 1, 0, 0, 0]
    assert result.reached.tolist() == [1, 1, 1, 1, 1]


def test_whoever_is_not_picked_is_represented_by_the_most_similar_pick() -> None:
    points = np.array([[9, 0], [9, 1], [9, 2], [0, 9], [1, 9], [2, 9]], np.float32)
    result = cover(Similarity.of_embeddings(points), 2)
    assert result.rows.tolist() == [2, 4]
    assert result.stands_for.tolist() == [0, 0, 0, 1, 1, 1]


def test_whoever_is_represented_beforehand_keeps_no_pick() -> None:
    points = np.array([[1, 0], [0, 1], [0, 2], [1, 1]], np.float32)
    result = cover(Similarity.of_embeddings(points), 1, reached=np.array([1.0, 0, 0, 0.9]))
    assert result.rows.tolist() == [1]
    assert result.stands_for.tolist() == [-1, 0, 0, -1]


def test_a_twin_of_an_earlier_pick_stands_for_itself() -> None:
    result = cover(Similarity.of_embeddings(np.ones((3, 2), np.float32)), 2)
    assert result.rows.tolist() == [0, 1]
    assert result.stands_for.tolist() == [0, 1, 0]


def test_equals_the_plain_algorithm(pool: Candidates) -> None:
    assert pool.embeddings is not None
    for shape in (None, gaussian(0.7)):
        similarity = Similarity.of_embeddings(pool.embeddings, shape=shape)
        rows, gains = plain(similarity, len(pool))
        for kept_pairs in (0, len(pool), 10**6):
            result = cover(similarity, len(pool), kept_pairs=kept_pairs)
            assert result.rows.tolist() == rows
            assert result.gains.tolist() == gains


@given(
    seed=st.integers(0, 10**6),
    num=st.integers(1, 120),
    room=st.sampled_from([0, 0.05, 0.3, 1]),
    names=st.sets(st.sampled_from(["reached", "weights", "caps"])),
)
@settings(deadline=None, max_examples=60)
def test_weights_caps_and_room_change_time_alone(
    seed: int, num: int, room: float, names: set[str]
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((num, 3)).astype(np.float32)
    points = points[rng.integers(0, num, num)]  # some are equal
    options: dict[str, Any] = {name: rng.random(num) for name in names}
    if "weights" in names:
        options["weights"][::3] = 0
        options["reached"] = options["weights"] * options.get("reached", 0)
    similarity = Similarity.of_embeddings(points, shape=gaussian(0.5) if seed % 2 else None)
    count = min(num, 30)
    result = cover(similarity, count, kept_pairs=int(room * num**2), **options)
    rows, gains = plain(similarity, count, **options)
    assert result.rows.tolist() == rows
    assert result.gains.tolist() == gains


def test_no_list_is_written_where_the_guess_was_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    # By every tenth row the pool looks empty; the other nine are alike and fill any room.
    points = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    points[np.arange(200) % 10 > 0] = 1
    monkeypatch.setattr(coverage, "_SAMPLE", 20)
    similarity = Similarity.of_embeddings(points)
    result = cover(similarity, 40, kept_pairs=2000)
    assert result.rows.tolist() == plain(similarity, 40)[0]


@pytest.mark.parametrize("room", [0.1, 1])
def test_blocks_tiles_and_threads_change_nothing(
    room: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(3).standard_normal((300, 4)).astype(np.float32)

    def found(threads: int) -> tuple[list[int], list[float], list[int]]:
        similarity = Similarity.of_embeddings(points, threads=threads)
        result = cover(similarity, 60, kept_pairs=int(room * 300**2))
        return result.rows.tolist(), result.gains.tolist(), result.stands_for.tolist()

    expected = found(1)
    for name in ("_COLUMNS_AT_ONCE", "_RAISED_AT_ONCE", "_ENTRIES_AT_ONCE"):
        monkeypatch.setattr(coverage, name, 37)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 41)
    assert found(1) == expected
    assert found(7) == expected


def test_a_pool_too_large_to_be_kept_rounded_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = np.random.default_rng(5).standard_normal((300, 4)).astype(np.float16)
    expected = cover(Similarity.of_embeddings(points), 60, kept_pairs=9000)
    monkeypatch.setattr(exact, "_KEPT_BYTES", 0)
    result = cover(Similarity.of_embeddings(points), 60, kept_pairs=9000)
    assert result.rows.tolist() == expected.rows.tolist()
    assert result.gains.tolist() == expected.gains.tolist()


def test_a_smaller_count_is_a_beginning_of_a_larger_one() -> None:
    points = np.random.default_rng(4).standard_normal((80, 4)).astype(np.float32)
    similarity = Similarity.of_embeddings(points)
    whole = cover(similarity, 80, kept_pairs=500)
    for count in (1, 2, 33):
        part = cover(similarity, count, kept_pairs=500)
        assert part.rows.tolist() == whole.rows[:count].tolist()
        assert part.gains.tolist() == whole.gains[:count].tolist()
