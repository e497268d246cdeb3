"""Random numbers that belong to items: a keyed hash of the id and of nothing else.

What an item draws depends on the key and on its id's value. It does not depend on the pool around
it, on its row, or on how wide the array of ids happens to be.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.base import Ids
from strategies.kernels.blocks import NARROW_ROWS, map_blocks

Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def item_noise(ids: Ids, key: int) -> Words:
    """Uniform 64-bit words, one an id: (N,) strings or integers -> (N,) uint64.

    Strings are hashed over their code points, integers over their value as 64 bits.

    Args:
        ids: The items.
        key: In [0, 2**64); other keys give independent words.
    """

    def of_block(rows: slice) -> Words:
        if ids.dtype.kind == "U":
            return _of_strings(ids[rows].astype(np.str_, copy=False), np.uint64(key))
        return _of_integers(ids[rows].astype(np.int64, copy=False), np.uint64(key))

    blocks = map_blocks(of_block, len(ids), block_rows=NARROW_ROWS)
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint64)


def row_marks(points: npt.NDArray[np.floating]) -> Words:
    """A hash of the numbers of each row, (N,): whatever their precision, and wherever it stands.

    For telling whether rows are those of before; without secrets.
    """
    factors = np.random.Generator(np.random.PCG64(1)).integers(
        2**63, 2**64, points.shape[1], np.uint64
    )

    def of_block(rows: slice) -> Words:
        # Adding zero turns -0.0 to 0.0, which is the same number.
        words = (points[rows].astype(np.float64) + 0.0).view(np.uint64)
        words = words ^ (words >> np.uint64(32))
        return _mixed((words * (factors | np.uint64(1))).sum(axis=1, dtype=np.uint64))

    blocks = map_blocks(of_block, len(points))
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint64)


def word_of(text: str) -> np.uint64:
    """A 64-bit word for a text."""
    return np.uint64(item_noise(np.array([text]), 0)[0])


def _of_integers(ids: npt.NDArray[np.int64], key: np.uint64) -> Words:
    return _mixed(_mixed(ids.view(np.uint64) + _GOLDEN) ^ key)


def _of_strings(ids: npt.NDArray[np.str_], key: np.uint64) -> Words:
    lengths = np.strings.str_len(ids)
    width = int(lengths.max(initial=0))
    codes = np.ascontiguousarray(ids.astype(f"U{max(width, 1)}")).view(np.uint32)
    columns = codes.reshape(len(ids), -1).T.astype(np.uint64, order="C")
    words = np.full(len(ids), key, np.uint64)
    for position in range(width):
        longer = lengths > position
        np.copyto(words, _mixed((words + _GOLDEN) ^ columns[position]), where=longer)
    return words


def _mixed(words: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads all bits."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))
