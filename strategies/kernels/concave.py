"""Greedy maximisation of concave functions of sums of features.

``f(S) = Σ_f ψ(Σ_{j in S} x_jf)`` with ``x >= 0`` and ψ growing ever more slowly: a feature seen
often is worth less. Gains only shrink, so few are computed again for a pick (`kernels.lazy`). Each
is computed row by row from differences in which nothing cancels, so equal rows tie and the gains of
a row shrink to within a few roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks
from strategies.kernels.exact import Points
from strategies.kernels.lazy import Greedy, lazy_greedy

Concave = Literal["log1p", "sqrt", "inverse"]

_ROWS_AT_ONCE = 64
_SLACK = 2.0**-36  # of a sum of up to 30,000 non-negative terms with a few roundings each


def concave_greedy(
    points: Points, count: int, concave: Concave, *, split: bool, threads: int | None = None
) -> Greedy:
    """Picks the row with the largest gain, `count` times; of equal gains the smaller row.

    Args:
        points: (N, D).
        count: B, at most N.
        concave: ψ: ``log(1 + t)``, ``sqrt(t)`` or ``t / (1 + t)``.
        split: Whether a negative value counts for a feature of its own; else it counts as 0.
        threads: As in `map_blocks`.
    """
    gains = _GAINS[concave]
    sides = (1, -1) if split and _has_negative(points, threads) else (1,)
    totals = [np.zeros(points.shape[1]) for _ in sides]

    def features(rows: Rows) -> list[Doubles]:
        block = points[rows].astype(np.float64)
        return [np.maximum(sign * block, 0.0) for sign in sides]

    def evaluate(rows: Rows) -> Doubles:
        def of_block(block: slice) -> Doubles:
            parts = zip(features(rows[block]), totals, strict=True)
            sums = np.zeros(len(rows[block]))
            for values, total in parts:
                sums += gains(values, total).sum(axis=1)
            return sums

        blocks = map_blocks(of_block, len(rows), threads=threads, block_rows=_ROWS_AT_ONCE)
        return np.concatenate(blocks)

    def take(row: int) -> None:
        for values, total in zip(features(np.array([row])), totals, strict=True):
            total += values[0]

    bounds = evaluate(np.arange(len(points)))
    return lazy_greedy(bounds * (1 + _SLACK), count, evaluate, take, least=0.0, slack=_SLACK)


def _has_negative(points: Points, threads: int | None) -> bool:
    return any(
        map_blocks(lambda rows: bool((points[rows] < 0).any()), len(points), threads=threads)
    )


def _log1p_gains(values: Doubles, totals: Doubles) -> Doubles:
    return np.log1p(values / (1 + totals))


def _sqrt_gains(values: Doubles, totals: Doubles) -> Doubles:
    roots = np.sqrt(totals)
    sums = np.sqrt(totals + values) + roots
    gains: Doubles = np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)
    return gains


def _inverse_gains(values: Doubles, totals: Doubles) -> Doubles:
    gains: Doubles = values / (1 + totals) / (1 + totals + values)
    return gains


_GAINS: Mapping[Concave, Callable[[Doubles, Doubles], Doubles]] = {
    "log1p": _log1p_gains,
    "sqrt": _sqrt_gains,
    "inverse": _inverse_gains,
}
