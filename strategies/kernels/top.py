"""The first rows by key, with ties that fall alike on every machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Rows

Keys = Doubles | npt.NDArray[np.uint64]


def first_rows(keys: Keys, count: int, *, ties: Callable[[Rows], Doubles] | None = None) -> Rows:
    """Rows of the `count` smallest keys, ascending; equal keys in the order of `ties`, then row.

    A plain argsort or argpartition returns another set of tied rows with and without AVX-512.
    Here only the value of the last key comes from a partition; which rows those are is settled
    by a stable sort of all rows that reach it. O(N + n log n) for n such rows.

    Args:
        keys: (N,), no NaN.
        count: Between 0 and N.
        ties: Answers rows with their second keys, compared only where `keys` are equal.
    """
    if count == 0:
        return np.empty(0, np.int64)
    last = np.partition(keys, count - 1)[count - 1]
    rows = np.flatnonzero(keys <= last).astype(np.int64, copy=False)
    sort_by = (keys[rows],) if ties is None else (ties(rows), keys[rows])
    return rows[np.lexsort(sort_by)[:count]]
