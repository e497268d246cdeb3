"""Random numbers that are a function of (key, item, draw): no stream, no position.

Item 7 gets the same numbers whether 10 or 10,000 items are drawn, in any order or batch. The
mixing is SplitMix64's (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators",
OOPSLA, section 3): integer arithmetic only, so every machine agrees to the bit.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Doubles = npt.NDArray[np.float64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def derive_key(*parts: object) -> int:
    """A 64-bit key for what these parts name."""
    text = ":".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def mix(words: Words) -> Words:
    """A bijection of 64-bit words in which every input bit moves every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def draw_words(key: int, items: npt.NDArray[np.int64], num_draws: int) -> Words:
    """Words (items, draws), each a function of `key`, its item and the number of the draw."""
    starts = mix(np.uint64(key) ^ mix((items.astype(np.uint64) + np.uint64(1)) * _GAMMA))
    steps = np.arange(1, num_draws + 1, dtype=np.uint64) * _GAMMA
    return mix(starts[:, None] + steps[None, :])


def draw_uniform(key: int, items: npt.NDArray[np.int64], num_draws: int) -> Doubles:
    """Numbers (items, draws) in [0, 1), multiples of 2**-53."""
    words = draw_words(key, items, num_draws) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def draw_bell(key: int, items: npt.NDArray[np.int64], num_draws: int) -> npt.NDArray[np.float32]:
    """Nearly normal numbers (items, draws) of mean 0 and deviation 1, within ±3.5.

    The sum of four uniform 16-bit numbers: close to a normal one, and exact on every machine, which
    logarithms and cosines are not.
    """
    words = draw_words(key, items, num_draws)
    low = np.uint64(0xFFFF)
    total = (words & low) + (words >> np.uint64(48))
    total += ((words >> np.uint64(16)) & low) + ((words >> np.uint64(32)) & low)
    # Four uniforms on 0..65535: mean 2 * 65535, variance 4 * (2**32 - 1) / 12.
    centred = total.astype(np.float32) - np.float32(2 * 65535)
    return centred * np.float32((3 / (2**32 - 1)) ** 0.5)
