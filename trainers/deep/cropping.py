"""Ten crops of an image, or one.

Legend: ``B`` images, ``Ch`` channels, ``H, W`` image, ``s`` side of a crop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.deep.erasing import kept_pixels
from trainers.deep.seeding import generator


class Cropper(nn.Module):
    """Images (B, Ch, H, W) -> crops (k B, Ch, s, s), the k of an image one after the other.

    Chance is its own: `reseed` sets the generator that training draws from.
    """

    def __init__(self, size: int, *, ten: bool, erasing: float) -> None:
        super().__init__()
        self.size, self.ten, self.erasing = size, ten, erasing
        self._generator = torch.Generator()

    @property
    def count(self) -> int:
        """K."""
        return 10 if self.ten else 1

    def reseed(self, seed: int, *purpose: str | int) -> None:
        self._generator = generator(seed, *purpose)

    def forward(self, images: Tensor) -> Tensor:
        crops = ten_crops(images, self.size) if self.ten else self._one(images)
        if self.training and self.erasing:
            size = (self.size, self.size)
            kept = kept_pixels(len(crops), size, self.erasing, self._generator)
            crops = crops * kept.to(crops)[:, None]  # normalised images have mean 0 there
        return crops

    def central(self, images: Tensor) -> Tensor:
        """(B, Ch, H, W) -> (B, Ch, s, s), a part of the same memory."""
        height, width = images.shape[-2:]
        return _crop(images, *_centre(height, width, self.size), self.size)

    def _one(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if not self.training:
            return self.central(images)
        rng, room = self._generator, (height - self.size + 1, width - self.size + 1)
        tops, lefts = (torch.randint(0, most, (len(images),), generator=rng) for most in room)
        each = [
            _crop(image[None], top, left, self.size)
            for image, top, left in zip(images, tops.tolist(), lefts.tolist(), strict=True)
        ]
        return torch.cat(each)


def ten_crops(images: Tensor, size: int) -> Tensor:
    """(B, Ch, H, W) -> (10 B, Ch, s, s), in the order of torchvision's TenCrop.

    Top left, top right, bottom left, bottom right, centre; then the same of the mirrored image.
    """
    both = [_five(images, size), _five(images.flip(-1), size)]
    return torch.cat(both, dim=1).flatten(0, 1)


def _five(images: Tensor, size: int) -> Tensor:
    """(B, 5, Ch, s, s)."""
    height, width = images.shape[-2:]
    bottom, right = height - size, width - size
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), _centre(height, width, size))
    return torch.stack([_crop(images, top, left, size) for top, left in corners], dim=1)


def _centre(height: int, width: int, size: int) -> tuple[int, int]:
    return round((height - size) / 2), round((width - size) / 2)


def _crop(images: Tensor, top: int, left: int, size: int) -> Tensor:
    return images[..., top : top + size, left : left + size]
