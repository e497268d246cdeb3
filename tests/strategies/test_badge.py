"""BADGE where float32 runs out of range; its law is tested with its kernel."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import BADGE, Candidates


def drawn(pool: Candidates, size: int, seed: int) -> list[int]:
    return [int(i) for i in BADGE().select(pool, size, np.random.default_rng(seed)).ids]


def groups(ids: list[int]) -> set[int]:
    """Row 0 is alone, rows 1 to 6 are equal, and so are rows 7 to 12."""
    return {0 if i == 0 else 1 + (i > 6) for i in ids}


@pytest.mark.parametrize("doubt", [1e-12, 1e-20, 1e-22, 1e-30, 1e-40])
def test_twins_of_a_pick_are_never_drawn_however_sure_all_others_are(doubt: float) -> None:
    doubts = np.full(13, doubt)
    doubts[0] = 0.5
    log_probs = np.stack([np.log1p(-doubts), np.log(doubts)], axis=1)
    embeddings = np.array([[1, 1, 1]] + 6 * [[1, 0, 0]] + 6 * [[0, 1, 0]], np.float32)
    pool = Candidates(ids=np.arange(13), log_probs=log_probs, embeddings=embeddings)
    for seed in range(20):
        assert groups(drawn(pool, 3, seed)) == {0, 1, 2}


@pytest.mark.parametrize("length", [1e15, 1e20, 1e25])
def test_twins_of_a_pick_are_never_drawn_however_long_another_embedding_is(length: float) -> None:
    embeddings = np.array([[length, 0, 0]] + 6 * [[0, 1, 0]] + 6 * [[0, 0, 1]], np.float32)
    log_probs = np.log(np.full((13, 2), 0.5, np.float32))
    pool = Candidates(ids=np.arange(13), log_probs=log_probs, embeddings=embeddings)
    for seed in range(20):
        assert groups(drawn(pool, 3, seed)) == {0, 1, 2}


@pytest.mark.parametrize("log_doubt", [-360.0, -370.0, -371.5, -372.0])
def test_weights_that_add_up_to_next_to_nothing_are_drawn_from(log_doubt: float) -> None:
    log_doubts = np.array([-0.7] + 5 * [log_doubt], np.float32)
    log_probs = np.stack([np.log1p(-np.exp(log_doubts.astype(np.float64))), log_doubts], axis=1)
    embeddings = np.array([[1, 1], [1, 0], [0, 1], [1, 0], [0, 0], [0, 0]], np.float32)
    pool = Candidates(
        ids=np.arange(6), log_probs=log_probs.astype(np.float32), embeddings=embeddings
    )
    for seed in range(20):
        assert sorted(drawn(pool, 6, seed)) == [0, 1, 2, 3, 4, 5]


def test_twins_that_later_picks_make_worthless_are_not_drawn_either() -> None:
    rng = np.random.default_rng(0)
    # Four directions that are near each other, ten twins of each, and all sure but the first.
    embeddings = np.ones((41, 4), np.float32)
    embeddings[1:] = np.repeat(np.abs(rng.normal(size=(4, 4))) + 1, 10, axis=0)
    doubts = np.full(41, 1e-24)
    doubts[0] = 0.5
    log_probs = np.stack([np.log1p(-doubts), np.log(doubts)], axis=1)
    pool = Candidates(ids=np.arange(41), log_probs=log_probs, embeddings=embeddings)
    for seed in range(20):
        directions = [(i - 1) // 10 for i in drawn(pool, 5, seed) if i]
        assert len({*directions}) == 4
