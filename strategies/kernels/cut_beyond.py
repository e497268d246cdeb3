"""Greedy graph cut beyond samples that are known: like the pool, unlike each other and unlike them.

``f(S | P) = Σ_i Σ_{j in S} s_ij - λ Σ_{i, j in S} s_ij - 2 λ Σ_{j in S} Σ_{p in P} s_jp``.
Candidate j gains ``Σ_i s_ij - λ (2 Σ_{k in S + P} s_jk + s_jj)``: the graph cut of `kernels.cut`,
to which known samples are picks made before.
"""

from __future__ import annotations

import numpy as np

from strategies.base import Doubles
from strategies.kernels.blocks import one_blas_thread
from strategies.kernels.exact import on_sum_grid
from strategies.kernels.lazy import Greedy
from strategies.kernels.similarity import Similarity


@one_blas_thread()
def cut_beyond(similarity: Similarity, count: int, *, trade_off: float, shared: Doubles) -> Greedy:
    """Picks the row with the largest gain, `count` times; of equal gains the smaller row.

    O(N D) a pick, and few numbers a row of extra memory.

    Args:
        similarity: Of the pool with itself, by half cosines.
        count: B, at most N.
        trade_off: λ >= 0.
        shared: (N,) what each row has in common with the known samples, ``Σ_p s_jp``.
    """
    sums, own = similarity.column_sums(), similarity.own()
    shared = on_sum_grid(shared)
    is_taken = np.zeros(len(similarity), np.bool_)
    rows, gains = np.empty(count, np.int64), np.empty(count)
    for pick in range(count):
        now = sums - trade_off * (2 * shared + own)
        now[is_taken] = -np.inf
        rows[pick] = best = int(now.argmax())
        gains[pick] = now[best]
        is_taken[best] = True
        # Sums of entries on the grid are exact, whatever the order.
        shared += similarity.columns(similarity.at(rows[pick : pick + 1]))[:, 0]
    return Greedy(rows, gains, count * len(similarity))
