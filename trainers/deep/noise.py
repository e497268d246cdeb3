"""Grain over training images."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.recipes import Noise


def with_noise(pixels: Tensor, settings: Noise, rng: torch.Generator) -> Tensor:
    """(B, Ch, H, W) in 0..255 -> float32 in 0..255, some images with noise on every pixel.

    What is drawn goes on from image to image, so it is the same however many come at once, and on
    every device.
    """
    shape, deviation = pixels.shape[1:], settings.variance**0.5
    chosen, grains = [], []
    for row in range(len(pixels)):
        if torch.rand((), generator=rng) < settings.share:
            chosen.append(row)
            grains.append(torch.randn(shape, generator=rng))
    seen = pixels.to(torch.float32, copy=True)
    if chosen:
        rows = torch.tensor(chosen, device=seen.device)
        seen[rows] = (seen[rows] + deviation * torch.stack(grains).to(seen)).clamp_(0, 255)
    return seen
