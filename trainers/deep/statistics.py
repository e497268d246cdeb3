"""Running statistics of batch norm, left alone where a pass is not to count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def untouched_statistics(module: nn.Module) -> Iterator[None]:
    """Inside, batch norm uses the statistics of its batch and leaves its running ones alone."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, was in zip(norms, tracked, strict=True):
            norm.track_running_stats = was
