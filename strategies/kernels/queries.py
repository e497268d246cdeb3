"""Greedy maximisation of how well picks resemble a query set, by similarities to that set alone.

The two functions here know the pool only through the table of N candidates by the samples of the
query set, of which a few rows are made at a time. Both are submodular, so lazy greedy applies.
Terms lie on the grid of sums: gains do not depend on the order of adding up, and equal rows tie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import on_sum_grid
from strategies.kernels.lazy import Greedy, lazy_greedy
from strategies.kernels.similarity import Directions, Similarity

Concave = Literal["sqrt", "log1p", "inverse"]
"""A concave function with ψ(0) = 0: the root, ``log(1 + x)``, or ``x / (1 + x)``."""

_QUERIES_AT_ONCE = 1024


@one_blas_thread()
def sums_and_largest(similarity: Similarity, queries: Directions) -> tuple[Doubles, Doubles]:
    """Of the similarities of each row to all queries the sum and the largest: (N,) each."""
    sums = _of_all(similarity, queries, lambda table, _: table.sum(axis=1))
    return sums, similarity.nearest(queries)


@one_blas_thread()
def cover_queries(similarity: Similarity, queries: Directions, count: int, *, eta: float) -> Greedy:
    """Picks greedily for ``Σ_q max_{j in S} s_jq + η Σ_{j in S} max_q s_jq``; ties by row.

    O(|Q| D) for each gain that is looked at. Extra memory: N + |Q| numbers.
    """
    sums, largest = sums_and_largest(similarity, queries)
    own = eta * largest
    reached = np.zeros(len(queries))

    def gains(rows: Rows) -> Doubles:
        def beyond(table: Doubles, some: slice) -> Doubles:
            table -= reached[some]
            rest: Doubles = np.maximum(table, 0.0, out=table).sum(axis=1)
            return rest

        return _of_rows(similarity, similarity.at(rows), queries, beyond) + own[rows]

    def take(row: int) -> None:
        np.maximum(reached, _row(similarity, row, queries), out=reached)

    return lazy_greedy(sums + own, count, gains, take, least=0.0)


@one_blas_thread()
def concave_queries(
    similarity: Similarity, queries: Directions, count: int, *, eta: float, psi: Concave
) -> Greedy:
    """Picks greedily for ``η Σ_{j in S} ψ(Σ_q s_jq) + Σ_q ψ(Σ_{j in S} s_jq)``; ties by row.

    O(|Q| D) for each gain that is looked at. Extra memory: N + |Q| numbers.
    """
    totals = np.zeros(len(queries))

    def added(table: Doubles, some: slice) -> Doubles:
        growth: Doubles = on_sum_grid(growths(table, totals[some], psi)).sum(axis=1)
        return growth

    sums, _ = sums_and_largest(similarity, queries)
    own = eta * growths(sums, np.zeros(1), psi)
    bounds = _of_all(similarity, queries, added) + own

    def gains(rows: Rows) -> Doubles:
        return _of_rows(similarity, similarity.at(rows), queries, added) + own[rows]

    def take(row: int) -> None:
        np.add(totals, _row(similarity, row, queries), out=totals)

    return lazy_greedy(bounds, count, gains, take, least=0.0)


def growths(steps: Doubles, totals: Doubles, psi: Concave) -> Doubles:
    """ψ(t + s) - ψ(t) for steps s and totals t, both >= 0.

    Written without a difference, so that each is computed by operations that fall with t even where
    they round: what lazy greedy relies on.
    """
    if psi == "inverse":
        return np.asarray(steps / ((1 + totals + steps) * (1 + totals)), np.float64)
    if psi == "log1p":
        return np.asarray(np.log1p(steps / (1 + totals)), np.float64)
    roots = np.sqrt(totals + steps) + np.sqrt(totals)
    growth: Doubles = np.divide(steps, roots, out=np.zeros_like(roots), where=roots > 0)
    return growth


Work = Callable[[Doubles, slice], Doubles]


def _of_rows(similarity: Similarity, rows: Directions, queries: Directions, work: Work) -> Doubles:
    """The sum of what `work` answers for tables of the rows by some queries at a time: (n,)."""
    total = np.zeros(len(rows))
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = slice(start, min(start + _QUERIES_AT_ONCE, len(queries)))
        total += work(similarity.table(rows, queries.take(some)), some)
    return total


def _of_all(similarity: Similarity, queries: Directions, work: Work) -> Doubles:
    blocks = map_blocks(
        lambda rows: _of_rows(similarity, similarity.block(rows), queries, work),
        len(similarity),
        threads=similarity.threads,
    )
    return np.concatenate(blocks)


def _row(similarity: Similarity, row: int, queries: Directions) -> Doubles:
    line: Doubles = similarity.table(similarity.at(np.array([row])), queries)[0]
    return line
