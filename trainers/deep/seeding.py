"""Randomness derived from a seed and a purpose, in torch's own generators."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Another seed for a purpose, in [0, 2**63)."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator of its own for a purpose, such as ``generator(seed, "views", epoch)``.

    Always on the CPU: draws are small, and the same on every device.
    """
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
