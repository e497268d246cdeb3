"""Greedy maximisation of a submodular function without looking at every gain for each pick.

What a row adds to a set can only shrink as the set grows. So a gain computed some picks ago bounds
today's from above, and a row whose bound lies below a gain that is up to date need not be looked at
(Minoux 1978, "Accelerated greedy algorithms for maximizing submodular set functions"). Where gains
are computed without rounding, or rounded alike each time, the picks are those of the plain
algorithm, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.top import first_rows

BATCH = 32
"""Rows whose gains are computed together at first: one matrix product instead of 32 of a vector."""

LARGEST_BATCH = 512
"""Rows computed together at most: the batch doubles while no pick is certain."""

_TAKEN = np.inf


@dataclass(frozen=True, eq=False)
class Greedy:
    """What greedy maximisation picked, in order."""

    rows: Rows  # (B,)
    gains: Doubles  # (B,) what each added when it was picked
    num_evaluated: int  # gains computed in all; the plain algorithm computes about N * B


def lazy_greedy(
    bounds: Doubles,
    count: int,
    evaluate: Callable[[Rows], Doubles],
    take: Callable[[int], None],
    *,
    least: float = -np.inf,
    slack: float = 0.0,
    batch: int = BATCH,
    largest_batch: int = LARGEST_BATCH,
) -> Greedy:
    """Picks the row with the largest gain, `count` times; of equal gains the smaller row.

    Equal bit for bit to computing all gains before each pick, provided that no gain ever exceeds an
    earlier one of its row or its bound. Sums on the grid of `kernels.exact` see to that; for others
    there is `slack`. Gains may be negative.

    Args:
        bounds: (N,) what the gains do not exceed while nothing is picked; ``inf`` where unknown.
            Not modified.
        count: B, at most N.
        evaluate: Answers n rows, distinct and not picked, with their gains (n,) given all picks so
            far. A row's answer must not depend on the rows beside it.
        take: Told each pick, the last one too, before anything else is evaluated.
        least: What no gain falls below, 0 for monotone functions: a bound that low is the gain.
        slack: Share of itself by which a gain may exceed an earlier one, for want of digits.
        batch: Rows evaluated together at first.
        largest_batch: Rows evaluated together at most.
    """
    keys = -bounds  # ascending is best first
    rows, gains = np.empty(count, np.int64), np.empty(count)
    num_evaluated = 0
    for pick in range(count):
        is_current = keys >= -least
        size = batch
        while True:
            best = first_rows(keys, min(size, len(keys) - pick))
            # Rows behind the first one that is up to date cannot overtake it.
            num_stale = int(np.argmax(is_current[best])) if is_current[best].any() else len(best)
            if num_stale == 0:
                break
            stale = best[:num_stale]
            keys[stale] = -evaluate(stale)
            is_current[stale] = True
            num_evaluated += num_stale
            size = min(2 * size, largest_batch)
        rows[pick], gains[pick] = best[0], -keys[best[0]]
        keys[best[0]] = _TAKEN
        take(int(best[0]))
        if slack:
            was_current = np.flatnonzero(is_current & (keys < _TAKEN))
            keys[was_current] -= slack * np.abs(keys[was_current])
    return Greedy(rows, gains, num_evaluated)
