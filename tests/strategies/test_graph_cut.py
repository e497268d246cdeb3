from __future__ import annotations

import numpy as np
import plainly
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool

from strategies import Candidates, Selection
from strategies.base import Doubles
from strategies.graph_cut import GraphCut


def select(strategy: GraphCut, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def value(table: Doubles, members: list[int], trade_off: float) -> float:
    within = table[np.ix_(members, members)].sum()
    return float(table[:, members].sum() - trade_off * within)


def test_the_batch_is_worth_its_cut() -> None:
    points = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    batch = select(GraphCut(trade_off=0.25), Candidates(ids=np.arange(4), embeddings=points), 3)
    # Sums over the pool are 2.5 for all but the last; a half for each pair but the twins.
    assert batch.ids.tolist() == [0, 2, 1]
    assert batch.scores.tolist() == [2.5 - 0.25, 2.5 - 0.25 * 2, 2.5 - 0.25 * 4]


def test_a_larger_trade_off_prefers_the_unlike() -> None:
    points = np.array([[5, 1], [5, 0], [5, -1], [-1, 5]], np.float32)
    pool = Candidates(ids=np.arange(4), embeddings=points)
    assert select(GraphCut(trade_off=0), pool, 2).ids.tolist() == [0, 1]
    assert select(GraphCut(trade_off=3), pool, 2).ids.tolist() == [0, 3]


@given(seed=st.integers(0, 10**6), trade_off=st.sampled_from([0.1, 0.5, 2.0, 20.0]))
@settings(deadline=None, max_examples=25)
def test_each_pick_makes_the_function_largest(seed: int, trade_off: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((25, 4)).astype(np.float32)
    table = plainly.half_cosines(points, points)

    def gains(picks: list[int]) -> Doubles:
        before = value(table, picks, trade_off)
        return np.array([value(table, [*picks, row], trade_off) - before for row in range(25)])

    rows, expected = plainly.greedy(gains, 12)
    pool = Candidates(ids=np.arange(25), embeddings=points)
    batch = select(GraphCut(trade_off=trade_off), pool, 12)
    assert batch.ids.tolist() == rows
    np.testing.assert_allclose(batch.scores, expected, atol=1e-6)


def test_gradients_are_compared_by_both_factors() -> None:
    pool = build_pool("spread")
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    residuals = np.exp(pool.log_probs.astype(np.float64))
    residuals[np.arange(len(pool)), pool.log_probs.argmax(axis=1)] -= 1
    cosines = plainly.cosines(residuals, residuals)
    cosines *= plainly.cosines(pool.embeddings, pool.embeddings)
    table = (cosines + 1) / 2

    def gains(picks: list[int]) -> Doubles:
        shared = 2 * table[:, picks].sum(axis=1) + np.diag(table)
        return np.asarray(table.sum(axis=0) - 3 * shared)

    batch = select(GraphCut(space="gradients", trade_off=3), pool, 20)
    assert batch.ids.tolist() == pool.ids[plainly.greedy(gains, 20)[0]].tolist()
