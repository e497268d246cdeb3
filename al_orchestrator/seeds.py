"""All randomness, derived from (seed, round, purpose); stored nowhere, global nowhere.

Deriving anew instead of carrying a generator's state along is what makes a resumed run equal to an
undisturbed one: no stream has a position that could be lost. The strategy's name takes no part,
so every strategy of one seed meets the same split, seed set, initial weights and augmentation
(common random numbers).
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

Purpose = Literal[
    "validation",
    "seed_set",
    "train",
    "predict",
    "select",
    "oracle",
    "evaluate",
    "stop_set",
    "saliency",
]


def derive_seed(seed: int, number: int, purpose: Purpose, step: int = 0) -> int:
    """An integer in [0, 2**63) for `purpose` in round `number` of an experiment with this seed.

    `step` tells apart what a round does more than once for the same purpose.
    """
    words = f"alo:{seed}:{number}:{purpose}" + (f":{step}" if step else "")
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1


def derive_rng(seed: int, number: int, purpose: Purpose, step: int = 0) -> np.random.Generator:
    """A generator of its own for `purpose` in round `number`."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, number, purpose, step)))
