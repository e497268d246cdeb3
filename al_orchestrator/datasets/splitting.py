"""Splits that a source does not have, drawn so that they can be drawn again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np

from al_orchestrator.datasets.base import Split

Shares = tuple[float, float, float]
"""Of train, val and test."""


def split_groups(groups: Collection[str], shares: Shares, seed: int) -> dict[str, Split]:
    """Every group into one split, so that no group stands in two.

    Groups are put in order of name, shuffled by the seed and cut; val and test get their share of
    the groups, rounded to whole ones, and at least one where the share is above 0.
    """
    ordered = sorted(set(groups))
    rng = np.random.Generator(np.random.Philox(seed))
    shuffled = [ordered[i] for i in rng.permutation(len(ordered))]
    counts = [max(1, round(share * len(ordered))) if share > 0 else 0 for share in shares[1:]]
    found: dict[str, Split] = dict.fromkeys(shuffled, "train")
    found |= dict.fromkeys(shuffled[: counts[0]], "val")
    found |= dict.fromkeys(shuffled[counts[0] : sum(counts)], "test")
    return found


def is_held_out(name: str, share: float, seed: int) -> bool:
    """Whether this item belongs to a share of all; hangs on its own name and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
