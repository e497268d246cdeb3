"""Greedy maximisation written down plainly: dense tables, all gains before each pick."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from strategies.base import Doubles
from strategies.kernels.exact import Points

ROWS = 2.0**26
SUMS = 2.0**30


def rounded(values: Doubles, units: float) -> Doubles:
    """To whole multiples of ``1 / units``."""
    result: Doubles = np.rint(values * units) / units
    return result


def unit_rows(points: Points) -> Doubles:
    """Rows of length one, rounded as the definition says; a row of zeros stays one."""
    rows = points.astype(np.float64)
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return rounded(rows / np.where(lengths > 0, lengths, 1.0), ROWS)


def cosines(points: Points, others: Points) -> Doubles:
    """All pairs, product by product: (n, D) x (m, D) -> (n, m)."""
    table: Doubles = (unit_rows(points)[:, None] * unit_rows(others)).sum(axis=2)
    return table


def half_cosines(points: Points, others: Points) -> Doubles:
    """(cos + 1) / 2."""
    return rounded(np.clip((cosines(points, others) + 1) / 2, 0, 1), SUMS)


def gaussians(points: Points, others: Points, width: float) -> Doubles:
    """exp(-d² / width²) of unit rows."""
    gaps = unit_rows(points)[:, None] - unit_rows(others)
    return rounded(np.exp(-(gaps**2).sum(axis=2) / width**2), SUMS)


def nearest(table: Doubles) -> Doubles:
    """The largest entry of each row; 0 without columns."""
    largest: Doubles = table.max(axis=1, initial=0.0)
    return largest


def greedy(gains: Callable[[list[int]], Doubles], count: int) -> tuple[list[int], list[float]]:
    """Picks the largest gain, given the picks before, `count` times; of equals the first."""
    picks: list[int] = []
    values: list[float] = []
    for _ in range(count):
        now = gains(picks).astype(np.float64, copy=True)
        now[picks] = -np.inf
        row = int(now.argmax())
        picks.append(row)
        values.append(float(now[row]))
    return picks, values


def coverage_gains(worths: Doubles, reached: Doubles) -> Callable[[list[int]], Doubles]:
    """Σ_i max(e_ij - m_i, 0), where m_i is what row i has reached by itself and by the picks."""

    def gains(picks: list[int]) -> Doubles:
        have = np.maximum(reached, nearest(worths[:, picks]))
        result: Doubles = np.maximum(worths - have[:, None], 0).sum(axis=0)
        return result

    return gains
