from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.base import Doubles
from strategies.kernels import blocks, queries
from strategies.kernels.queries import (
    Concave,
    concave_queries,
    cover_queries,
    growths,
    sums_and_largest,
)
from strategies.kernels.similarity import Directions, Similarity

PSIS: tuple[Concave, ...] = get_args(Concave)


def plain(psi: Concave, value: Doubles) -> Doubles:
    if psi == "inverse":
        return value / (1 + value)
    return np.asarray(np.sqrt(value) if psi == "sqrt" else np.log1p(value), np.float64)


def case(num: int = 60, num_queries: int = 7, seed: int = 0) -> tuple[Similarity, Directions]:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((num, 4)).astype(np.float32)
    points[num // 2 :: 5] = points[0]
    similarity = Similarity.of_embeddings(points)
    return similarity, similarity.outside(rng.standard_normal((num_queries, 4)))


def table_of(similarity: Similarity, asked: Directions) -> Doubles:
    return similarity.table(similarity.at(np.arange(len(similarity))), asked)


def plain_greedy(table: Doubles, count: int, own: Doubles, psi: Concave | None) -> list[int]:
    """All gains before each pick, from the table; on the same grid, so that ties are ties."""
    state = np.zeros(table.shape[1])
    rows: list[int] = []
    for _ in range(count):
        if psi is None:
            gains = np.maximum(table - state, 0).sum(axis=1) + own
        else:
            terms = np.rint(growths(table, state, psi) * 2**30) / 2**30
            gains = terms.sum(axis=1) + own
        gains[rows] = -np.inf
        rows.append(int(gains.argmax()))
        line = table[rows[-1]]
        state = np.maximum(state, line) if psi is None else state + line
    return rows


def test_each_query_gets_its_candidate() -> None:
    points = np.array([[1, 0], [1, -0.5], [0, 1], [-1, -1]])
    similarity = Similarity.of_embeddings(points)
    asked = similarity.outside(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    found = cover_queries(similarity, asked, 4, eta=0)
    assert found.rows.tolist() == [0, 2, 1, 3]  # rows 1 and 3 add nothing, and go by row
    assert found.gains.tolist() == [2.5, 0.5, 0, 0]
    weighted = cover_queries(similarity, asked, 4, eta=3)
    assert weighted.rows.tolist() == [0, 2, 1, 3]
    assert weighted.gains[:2].tolist() == [5.5, 3.5]


def test_a_query_that_is_served_asks_less() -> None:
    # Rows 0 and 1 are the first query, and half like the second; row 2 is nearly the second.
    similarity = Similarity.of_embeddings(np.array([[1, 0], [1, 0], [-0.1, 1]]))
    asked = similarity.outside(np.array([[1.0, 0], [0.0, 1]]))
    for psi in PSIS:
        found = concave_queries(similarity, asked, 3, eta=0, psi=psi)
        assert found.rows.tolist() == [0, 2, 1]
    by_relevance = table_of(similarity, asked).sum(axis=1)
    assert by_relevance.argsort(kind="stable").tolist() == [2, 0, 1]


@pytest.mark.parametrize("psi", PSIS)
@pytest.mark.parametrize("eta", [0.0, 1.0, 2.5])
def test_concave_equals_the_plain_algorithm(psi: Concave, eta: float) -> None:
    similarity, asked = case()
    table = table_of(similarity, asked)
    own = eta * plain(psi, table.sum(axis=1))
    found = concave_queries(similarity, asked, 60, eta=eta, psi=psi)
    assert found.rows.tolist() == plain_greedy(table, 60, own, psi)
    order = table[found.rows]
    totals = np.vstack((np.zeros(7), order.cumsum(axis=0)))
    expected = np.diff(plain(psi, totals).sum(axis=1)) + own[found.rows]
    np.testing.assert_allclose(found.gains, expected, atol=2e-8)


@pytest.mark.parametrize("eta", [0.0, 1.0, 2.5])
def test_cover_equals_the_plain_algorithm(eta: float) -> None:
    similarity, asked = case()
    table = table_of(similarity, asked)
    found = cover_queries(similarity, asked, 60, eta=eta)
    assert found.rows.tolist() == plain_greedy(table, 60, eta * table.max(axis=1), None)
    reached = np.maximum.accumulate(np.vstack((np.zeros(7), table[found.rows])))
    expected = np.diff(reached.sum(axis=1)) + eta * table.max(axis=1)[found.rows]
    np.testing.assert_allclose(found.gains, expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.sampled_from(PSIS),
)
def test_growth_is_a_difference_and_falls(
    steps: list[float], first: float, second: float, psi: Concave
) -> None:
    values, low, high = np.array(steps), min(first, second), max(first, second)
    earlier, later = (growths(values, np.array([total]), psi) for total in (low, high))
    assert (earlier >= later).all()
    assert (later >= 0).all()
    expected = plain(psi, low + values) - plain(psi, np.array([low]))
    np.testing.assert_allclose(earlier, expected, atol=1e-12 * (1 + np.sqrt(low)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([None, *PSIS]))
def test_any_pool_is_picked_from_as_the_plain_algorithm_does(
    seed: int, num_queries: int, psi: Concave | None
) -> None:
    similarity, asked = case(15, num_queries, seed)
    table = table_of(similarity, asked)
    if psi is None:
        found = cover_queries(similarity, asked, 15, eta=0.5)
        own = 0.5 * table.max(axis=1)
    else:
        found = concave_queries(similarity, asked, 15, eta=0.5, psi=psi)
        own = 0.5 * growths(table.sum(axis=1), np.zeros(1), psi)
    assert found.rows.tolist() == plain_greedy(table, 15, own, psi)


def test_sums_and_largest_are_those_of_the_table() -> None:
    similarity, asked = case()
    sums, largest = sums_and_largest(similarity, asked)
    table = table_of(similarity, asked)
    assert sums.tolist() == table.sum(axis=1).tolist()
    assert largest.tolist() == table.max(axis=1).tolist()


def test_blocks_threads_and_parts_of_the_query_set_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    similarity, asked = case(500, 30)

    def run() -> list[float]:
        covering = cover_queries(similarity, asked, 40, eta=1)
        concave = concave_queries(similarity, asked, 40, eta=1, psi="log1p")
        return [*covering.rows, *covering.gains, *concave.rows, *concave.gains]

    whole = run()
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 64)
    monkeypatch.setattr(blocks, "_default_threads", lambda: 3)
    monkeypatch.setattr(queries, "_QUERIES_AT_ONCE", 4)
    assert run() == whole
