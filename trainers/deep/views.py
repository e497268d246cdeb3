"""Random views of training images, all images of a batch at once.

A view is drawn apart from being applied: what is drawn is a small table of integers, one row an
image, so the draws of an epoch are the same whatever the batches, the device and the precision.

Legend: ``B`` images, ``Ch`` channels, ``H, W`` image.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.recipes import PadCrop, ResizedCrop


class Views(ABC):
    """One kind of view."""

    @abstractmethod
    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, columns) int64: what is to be done to so many images."""

    @abstractmethod
    def apply(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """(B, Ch, H, W) uint8 and their (B, columns) draws -> (B, Ch, H, W) in 0..255."""


def views_of(augmentation: PadCrop | ResizedCrop, size: tuple[int, int]) -> Views:
    """Views of images of `size` (H, W)."""
    if isinstance(augmentation, PadCrop):
        return PadCropViews(augmentation)
    return ResizedCropViews(augmentation, size)


class PadCropViews(Views):
    """Windows of the framed image; draws are (top, left, is mirrored). The answer is uint8."""

    def __init__(self, augmentation: PadCrop) -> None:
        self._padding = augmentation.padding
        self._flip = augmentation.flip

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        corners = torch.randint(0, 2 * self._padding + 1, (count, 2), generator=rng)
        return torch.cat([corners, _flips(count, self._flip, rng)], dim=1)

    def apply(self, pixels: Tensor, draws: Tensor) -> Tensor:
        height, width = pixels.shape[2:]
        top, left, flip = draws.unbind(1)
        framed = F.pad(pixels, (self._padding,) * 4)
        # Every window of every image as a view without copies, of which one an image is copied.
        windows = framed.unfold(2, height, 1).unfold(3, width, 1)
        cropped = windows[torch.arange(len(pixels), device=pixels.device), :, top, left]
        return torch.where(flip.bool()[:, None, None, None], cropped.flip(-1), cropped)


class ResizedCropViews(Views):
    """Parts blown up to the image's size; draws are (top, left, height, width, is mirrored).

    Bilinear resampling is a linear map of each axis, so a crop, its resizing and its mirror image
    are two small matrix products: rows (H, H) @ image (H, W) @ columns (W, W). The part is never
    larger than the result, so no smoothing is needed. The answer is float32.

    The law is that of Szegedy et al. 2015 as torchvision draws it: area and logarithm of the
    aspect ratio uniform, ten tries, else the whole image.
    """

    TRIES = 10

    def __init__(self, augmentation: ResizedCrop, size: tuple[int, int]) -> None:
        self._size = torch.tensor(size, dtype=torch.float64)  # (H, W)
        self._min_area = augmentation.min_area
        self._log_aspect = math.log(augmentation.max_aspect)
        self._flip = augmentation.flip

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        uniform = torch.rand((count, self.TRIES, 4), generator=rng, dtype=torch.float64)
        area, aspect, place = uniform[..., 0], uniform[..., 1], uniform[..., 2:]
        share = self._min_area + (1 - self._min_area) * area
        # The square root of width over height.
        tilt = torch.exp((aspect - 0.5) * self._log_aspect)
        side = (share * self._size.prod()).sqrt()
        sides = torch.stack([side / tilt, side * tilt], dim=-1).round()  # (count, TRIES, 2)
        fits = ((sides >= 1) & (sides <= self._size)).all(-1)
        first = fits.to(torch.int8).argmax(1)  # 0 too where none fits
        rows = torch.arange(count)
        sides = torch.where(fits.any(1)[:, None], sides[rows, first], self._size)
        corners = (place[rows, first] * (self._size - sides + 1)).floor()
        boxes = torch.cat([corners, sides], dim=1).to(torch.int64)
        return torch.cat([boxes, _flips(count, self._flip, rng)], dim=1)

    def apply(self, pixels: Tensor, draws: Tensor) -> Tensor:
        top, left, height, width, flip = draws.unbind(1)
        down = _sources(top, height, pixels.shape[2])
        across = _sources(left, width, pixels.shape[3])
        across = torch.where(flip.bool()[:, None], across.flip(1), across)
        rows, columns = _interpolation(down), _interpolation(across)
        return rows[:, None] @ pixels.to(torch.float32) @ columns.mT[:, None]


def _sources(start: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, size): where each pixel comes from, as `length` pixels from `start` become `size`.

    Pixel centres lie at halves, as everywhere in image resampling; beyond the outermost centres
    of the part its edge continues.
    """
    centres = torch.arange(size, device=start.device) + 0.5
    within = (centres * (length[:, None] / size) - 0.5).clamp(min=0)
    return torch.minimum(within, (length - 1)[:, None]) + start[:, None]


def _interpolation(sources: Tensor) -> Tensor:
    """(B, size) places between pixels -> (B, size, size) weights of the pixels on either side."""
    pixels = torch.arange(sources.shape[1], device=sources.device)
    return (1 - (sources[:, :, None] - pixels).abs_()).clamp_(min=0)


def _flips(count: int, enabled: bool, rng: torch.Generator) -> Tensor:
    """(count, 1) int64, 1 where an image is mirrored."""
    return torch.randint(0, 2 if enabled else 1, (count, 1), generator=rng)
