"""Rectangles taken out of images (Zhong et al. 2020, arXiv 1708.04896)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TRIES = 10
_RATIO = (0.3, 3.3)


def kept_pixels(
    count: int,
    size: tuple[int, int],
    share: float,
    rng: torch.Generator,
    areas: tuple[float, float] = (0.02, 0.33),
) -> Tensor:
    """(count, H, W): 1, and 0 where a rectangle is taken out of a `share` of the images.

    Args:
        count: Images.
        size: H and W.
        share: Of the images that lose a rectangle.
        rng: Of all chance.
        areas: Least and largest share of the image's area; the log of the sides' ratio is uniform
            between those of 0.3 and 3.3.
    """
    kept = torch.ones(count, *size)
    chosen = torch.rand(count, generator=rng) < share
    for row in torch.nonzero(chosen).flatten().tolist():
        top, left, height, width = _rectangle(size, areas, rng)
        kept[row, top : top + height, left : left + width] = 0
    return kept


def _rectangle(
    size: tuple[int, int], areas: tuple[float, float], rng: torch.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height, width; nothing where none of the tries fits."""
    rows, columns = size
    for _ in range(_TRIES):
        u = torch.rand(4, generator=rng, dtype=torch.float64).tolist()
        area = rows * columns * (areas[0] + (areas[1] - areas[0]) * u[0])
        low, high = (math.log(ratio) for ratio in _RATIO)
        ratio = math.exp(low + (high - low) * u[1])
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < height < rows and 0 < width < columns:
            top, left = int(u[2] * (rows - height + 1)), int(u[3] * (columns - width + 1))
            return top, left, height, width
    return 0, 0, 0, 0
