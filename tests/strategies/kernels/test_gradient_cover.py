"""Lazy facility location over gradients, against computing every gain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool, log_softmax

from strategies import Candidates
from strategies.base import Doubles
from strategies.kernels import blocks
from strategies.kernels.exact import ExactPool, on_sum_grid
from strategies.kernels.factored import FactoredPool
from strategies.kernels.gradient_cover import GradientCover, first_gains


def gradients(pool: Candidates) -> FactoredPool:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    return FactoredPool.of(pool.log_probs, ExactPool.of(pool.embeddings), bias=True)


def random_gradients(num: int, seed: int, scale: float = 0.5) -> FactoredPool:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.standard_normal((num, 3)))
    return FactoredPool.of(
        log_probs, ExactPool.of(scale * rng.standard_normal((num, 4))), bias=True
    )


def plainly(
    pool: FactoredPool, others: list[Doubles], weight: float
) -> tuple[list[int], list[float]]:
    """The largest of ``other + weight * gain`` for each pick, all gains computed."""
    table = on_sum_grid(pool.similarities(pool.at(np.arange(len(pool)))))
    covered = np.zeros(len(pool))
    rows: list[int] = []
    values: list[float] = []
    for other in others:
        now = other + weight * np.maximum(table - covered, 0).sum(axis=1)
        now[rows] = -np.inf
        rows.append(int(now.argmax()))
        values.append(float(now.max()))
        covered = np.maximum(covered, table[rows[-1]])
    return rows, values


def lazily(
    pool: FactoredPool, others: list[Doubles], weight: float
) -> tuple[list[int], list[float]]:
    cover = GradientCover(pool, weight)
    rows: list[int] = []
    values: list[float] = []
    for other in others:
        row, value = cover.best(other, np.array(rows, np.int64))
        cover.add(row)
        rows.append(row)
        values.append(value)
    return rows, values


def test_the_first_pick_is_near_most_others() -> None:
    log_probs = np.log(np.full((4, 2), 0.5))
    points = ExactPool.of(np.array([[0.0], [1.0], [1.2], [9.0]]))
    pool = FactoredPool.of(log_probs, points, bias=False)
    # |g - g'|² = (h - h')² / 2 for two equal classes.
    expected = [np.exp(-((h - np.array([0, 1, 1.2, 9])) ** 2) / 4).sum() for h in (0, 1, 1.2, 9)]
    np.testing.assert_allclose(first_gains(pool), expected, atol=1e-7)
    assert lazily(pool, [np.zeros(4)] * 2, 1.0)[0] == [1, 3]


@pytest.mark.parametrize("weight", [0.0, 0.02, 1.0])
def test_equals_computing_every_gain(pool: Candidates, weight: float) -> None:
    made = gradients(pool)
    rng = np.random.default_rng(2)
    others = [rng.standard_normal(len(pool)) for _ in range(len(pool))]
    assert lazily(made, others, weight) == plainly(made, others, weight)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_equals_computing_every_gain_over_many_tiles(scale: float) -> None:
    pool = random_gradients(1300, 4, scale)
    others = [np.zeros(1300)] * 40
    assert lazily(pool, others, 1.0) == plainly(pool, others, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**32), st.sampled_from([0.0, 0.3, 10.0]))
def test_equals_computing_every_gain_whatever_else_is_added(
    num: int, seed: int, size: float
) -> None:
    pool = random_gradients(num, seed)
    rng = np.random.default_rng(seed)
    others = [size * rng.standard_normal(num) for _ in range(num)]
    assert lazily(pool, others, 1.0) == plainly(pool, others, 1.0)


def test_most_gains_are_never_computed_again() -> None:
    cover = GradientCover(random_gradients(1000, 0, scale=3.0), 1.0)
    rows: list[int] = []
    for _ in range(50):
        rows.append(cover.best(np.zeros(1000), np.array(rows, np.int64))[0])
        cover.add(rows[-1])
    assert cover.refreshed < 1000 * 50 / 5


def test_the_grid_of_blocks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = gradients(build_pool("spread", num=150))
    others = [np.zeros(150)] * 30
    whole = lazily(pool, others, 0.7)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)
    assert lazily(pool, others, 0.7) == whole
