"""BAIT against its definition, with matrices written out and inverted for every candidate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool, log_softmax
from pydantic import ValidationError

from strategies import Candidates, StrategyError
from strategies.bait import BAIT
from strategies.base import Doubles, Floats, Selection
from strategies.kernels import blocks


def select(strategy: BAIT, pool: Candidates, count: int, seed: int = 0) -> Selection:
    return strategy.select(pool, count, np.random.default_rng(seed))


def informations(log_probs: Floats, points: Floats) -> list[Doubles]:
    probs = np.exp(log_probs.astype(np.float64))
    probs /= probs.sum(axis=1, keepdims=True)
    return [
        np.kron(np.diag(p) - np.outer(p, p), np.outer(h, h))
        for p, h in zip(probs, points.astype(np.float64), strict=True)
    ]


def written_out(
    pool: Candidates, count: int, ridge: float = 1.0
) -> tuple[list[int], list[float], list[float]]:
    """Rows, what the trace lost at each, and the trace before and after every step."""
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    assert pool.labelled_log_probs is not None
    assert pool.labelled_embeddings is not None
    mine = informations(pool.log_probs, pool.embeddings)
    known = informations(pool.labelled_log_probs, pool.labelled_embeddings)
    fisher = sum([*mine, *known], np.zeros_like(mine[0])) / len(mine + known)
    matrix = ridge * np.eye(len(fisher)) + sum(known, np.zeros_like(fisher)) / (len(known) + count)
    factor = count / (len(known) + count)

    def trace(one: Doubles) -> float:
        return float(np.einsum("ij,ij->", np.linalg.inv(one), fisher))

    rows: list[int] = []
    lost: list[float] = []
    traces = [trace(matrix)]
    for _ in range(min(2 * count, len(mine))):
        left = [row for row in range(len(mine)) if row not in rows]
        after = {row: trace(matrix + factor * mine[row]) for row in left}
        best = min(left, key=lambda row: (round(after[row], 11), row))
        rows.append(best)
        lost.append(traces[-1] - after[best])
        matrix = matrix + factor * mine[best]
        traces.append(after[best])
    while len(rows) > count:
        after = {row: trace(matrix - factor * mine[row]) for row in rows}
        worst = min(rows, key=lambda row: (round(after[row], 11), -rows.index(row)))
        matrix = matrix - factor * mine[worst]
        traces.append(after[worst])
        del lost[rows.index(worst)]
        rows.remove(worst)
    return rows, lost, traces


def small_pool(num: int, num_labelled: int, seed: int, scale: float = 1.0) -> Candidates:
    rng = np.random.default_rng(seed)
    count = num + num_labelled
    log_probs = log_softmax(1.5 * rng.standard_normal((count, 3))).astype(np.float32)
    points = (scale * rng.standard_normal((count, 4))).astype(np.float32)
    return Candidates(
        ids=np.arange(num),
        log_probs=log_probs[:num],
        embeddings=points[:num],
        labelled_log_probs=log_probs[num:],
        labelled_embeddings=points[num:],
    )


def axes(lengths: list[float], directions: list[int]) -> Candidates:
    points = np.zeros((len(lengths), 2), np.float32)
    points[np.arange(len(lengths)), directions] = lengths
    return Candidates(
        ids=np.arange(len(lengths)),
        log_probs=np.full((len(lengths), 2), np.log(0.5), np.float32),
        embeddings=points,
        labelled_log_probs=np.empty((0, 2), np.float32),
        labelled_embeddings=np.empty((0, 2), np.float32),
    )


def test_the_first_pick_on_paper() -> None:
    # Two equal classes: I = ((1, -1), (-1, 1)) / 4 ⊗ h h^T, whose one eigenvalue is e = |h|² / 2.
    # F, the mean of four, has (2 + 2) / 4 = 1 along axis 0 and (4.5 + 0) / 4 = 9 / 8 along axis 1.
    # With λ = 1 and nothing labelled, a sample on an axis takes off that times e / (1 + e):
    # 1 · 2 / 3 on axis 0, and 9 / 8 · 4.5 / 5.5 on axis 1.
    batch = select(BAIT(), axes([2, 3, 2, 0], [0, 1, 0, 1]), 1)
    assert batch.ids.tolist() == [1]
    assert batch.scores.tolist() == pytest.approx([9 / 8 * 4.5 / 5.5])


def test_a_batch_of_two_does_not_ask_twice_along_one_axis() -> None:
    assert select(BAIT(), axes([3, 3, 3, 2], [0, 0, 0, 1]), 2).ids.tolist() == [0, 3]


@pytest.mark.parametrize("num_labelled", [0, 6])
@pytest.mark.parametrize("count", [1, 5, 15])
def test_equals_the_definition_written_out(num_labelled: int, count: int) -> None:
    for seed in range(2):
        pool = small_pool(20, num_labelled, seed)
        batch = select(BAIT(), pool, count)
        rows, lost, traces = written_out(pool, count)
        assert batch.ids.tolist() == rows
        np.testing.assert_allclose(batch.scores, lost, rtol=1e-8)
        forward = min(2 * count, 20)
        expected = [traces[0], traces[forward], traces[-1]]
        np.testing.assert_allclose(np.array(batch.notes["objective"]), expected, rtol=1e-10)


@pytest.mark.parametrize("count", [1, 9])
def test_equals_the_definition_on_pools_that_are_hard(pool: Candidates, count: int) -> None:
    count = min(count, len(pool))
    rows, lost, _ = written_out(pool, count)
    batch = select(BAIT(), pool, count)
    assert [int(name) - 100 for name in batch.ids] == rows
    np.testing.assert_allclose(batch.scores, lost, atol=1e-7 * max(lost, default=1))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 14), st.integers(0, 4), st.integers(0, 2**32), st.sampled_from([0.1, 1, 30]))
def test_the_objective_falls_on_the_way_out_and_rises_on_the_way_back(
    num: int, num_labelled: int, seed: int, scale: float
) -> None:
    pool = small_pool(num, num_labelled, seed, scale)
    for count in (1, num // 2, num):
        batch = select(BAIT(), pool, count)
        start, far, end = np.array(batch.notes["objective"])
        assert far <= end <= start * (1 + 1e-9) or far == pytest.approx(end)
        assert (batch.scores >= 0).all()


def test_of_equal_samples_those_with_the_smaller_ids_are_asked_for() -> None:
    pool = small_pool(18, 3, 5)
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    same = np.arange(18) % 6
    pool = replace(pool, log_probs=pool.log_probs[same], embeddings=pool.embeddings[same])
    for count in (3, 5, 8):
        ids = select(BAIT(), pool, count).ids.tolist()
        for chosen in ids:
            assert {*range(chosen % 6, chosen, 6)} <= {*ids}


def test_multiplying_embeddings_and_the_ridge_alike_changes_nothing() -> None:
    pool = small_pool(30, 5, 8)
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    longer = replace(
        pool,
        embeddings=pool.embeddings * 2**40,
        labelled_embeddings=pool.labelled_embeddings * 2**40,
    )
    short = select(BAIT(), pool, 6)
    long = select(BAIT(ridge=2.0**80), longer, 6)
    assert long.ids.tolist() == short.ids.tolist()
    assert long.scores.tolist() == short.scores.tolist()


@pytest.mark.parametrize("factor", [1e-18, 1e15])
def test_extreme_lengths_are_no_reason_to_fail(factor: float) -> None:
    pool = small_pool(20, 4, 9)
    assert pool.embeddings is not None
    huge = replace(pool, embeddings=(pool.embeddings * factor).astype(np.float32))
    batch = select(BAIT(), huge, 5)
    assert np.isfinite(batch.scores).all()


def test_a_width_that_holds_all_there_is_changes_nothing() -> None:
    pool = small_pool(30, 5, 8)
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((9, 9)))[0][:4].astype(np.float32)
    wide = replace(
        pool,
        embeddings=pool.embeddings @ turn,
        labelled_embeddings=pool.labelled_embeddings @ turn,
    )
    expected = select(BAIT(), pool, 7)
    for width, approximate in ((None, False), (9, False), (20, False), (4, True)):
        batch = select(BAIT(width=width), wide, 7)
        assert batch.ids.tolist() == expected.ids.tolist()
        np.testing.assert_allclose(batch.scores, expected.scores, rtol=1e-5)
        assert batch.notes["approximate"] is approximate


def test_a_smaller_width_keeps_the_largest_directions() -> None:
    pool = small_pool(40, 5, 3)
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    stretch = np.array([100, 100, 1e-3, 1e-3], np.float32)
    flat = replace(
        pool,
        embeddings=pool.embeddings * stretch,
        labelled_embeddings=pool.labelled_embeddings * stretch,
    )
    batch = select(BAIT(width=2), flat, 6)
    assert batch.notes["width"] == 2
    assert batch.ids.tolist() == select(BAIT(), flat, 6).ids.tolist()


def test_drawn_candidates_belong_to_ids() -> None:
    pool = small_pool(60, 5, 3)
    strategy = BAIT(candidates=25)
    batch = select(strategy, pool, 5)
    assert batch.notes["candidates"] == 25
    assert batch.notes["approximate"] is True
    assert select(strategy, pool, 5, seed=1).ids.tolist() != batch.ids.tolist()
    shuffled = pool.take(np.random.default_rng(0).permutation(60).astype(np.int64))
    assert select(strategy, shuffled, 5).ids.tolist() == batch.ids.tolist()


def test_at_least_twice_the_batch_are_candidates() -> None:
    batch = select(BAIT(candidates=1), small_pool(60, 5, 3), 10)
    assert batch.notes["candidates"] == 20


def test_as_many_candidates_as_there_are_draw_nothing() -> None:
    pool = small_pool(20, 5, 3)
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    batch = BAIT(candidates=20).select(pool, 5, rng)
    assert rng.bit_generator.state == before
    assert batch.ids.tolist() == select(BAIT(), pool, 5).ids.tolist()


def test_what_does_not_fit_in_memory_is_refused_with_a_way_out() -> None:
    with pytest.raises(StrategyError, match="set a smaller width, or candidates below 1"):
        select(BAIT(width=10_000), build_wide(), 1)


def build_wide() -> Candidates:
    points = np.ones((1, 5000), np.float32)
    log_probs = np.full((1, 4), np.log(0.25), np.float32)
    return Candidates(
        ids=np.arange(1),
        log_probs=log_probs,
        embeddings=points,
        labelled_log_probs=log_probs[:0],
        labelled_embeddings=points[:0],
    )


@pytest.mark.parametrize("block_rows", [7, 64])
def test_blocks_and_threads_change_no_bit(block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = build_pool("clusters", num=200)
    whole = select(BAIT(width=3), pool, 12)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(blocks, "_default_threads", lambda: 3)
    batch = select(BAIT(width=3), pool, 12)
    assert batch.ids.tolist() == whole.ids.tolist()
    assert batch.scores.tolist() == whole.scores.tolist()


@pytest.mark.parametrize("wrong", [{"ridge": 0.0}, {"width": 0}, {"candidates": 0}])
def test_numbers_without_a_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BAIT.model_validate(wrong)
