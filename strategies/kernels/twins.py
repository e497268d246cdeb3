"""Which rows of a pool are equal, so that what is equal is computed once and ties exactly."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from strategies.base import Rows
from strategies.kernels.blocks import map_blocks
from strategies.kernels.exact import Points


@dataclass(frozen=True, eq=False)
class Twins:
    """Groups of equal rows, numbered by their first rows."""

    firsts: Rows  # (U,) ascending, the first row of each group
    group_of: Rows  # (N,) in [0, U)

    @property
    def sizes(self) -> Rows:
        return np.bincount(self.group_of, minlength=len(self.firsts))


def twins_of(*arrays: Points) -> Twins:
    """Groups rows that are equal in all arrays, each (N, …); 0.0 and -0.0 are equal.

    Rows are compared by a 128-bit digest, one block of each array in memory at a time.
    """

    def of_block(rows: slice) -> list[bytes]:
        # Adding 0 turns -0.0 into 0.0.
        blocks = [np.ascontiguousarray(np.asarray(array[rows]) + 0) for array in arrays]
        return [
            hashlib.blake2b(b"".join(row.tobytes() for row in parts), digest_size=16).digest()
            for parts in zip(*blocks, strict=True)
        ]

    digests = [digest for block in map_blocks(of_block, len(arrays[0])) for digest in block]
    groups: dict[bytes, int] = {}
    group_of = np.array([groups.setdefault(digest, len(groups)) for digest in digests], np.int64)
    firsts = np.unique(group_of, return_index=True)[1].astype(np.int64)
    return Twins(firsts, group_of)
