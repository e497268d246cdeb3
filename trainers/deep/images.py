"""Pixels out of a packed image file, and the one evaluation transform: scale and normalise.

Legend: ``B`` minibatch, ``Ch`` channels, ``H, W`` image.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainers.base import Images, Rows, TrainingError
from trainers.deep.views import Views

RESIDENT_BYTES = 2**30
"""Image sets up to this size are copied to the device once; larger ones stream from the file."""


class Pixels:
    """Rows of a packed image file, taken by position in `rows`."""

    def __init__(self, images: Images, rows: Rows, device: str, *, resident: bool = False) -> None:
        """Opens the file.

        Args:
            images: The packed file.
            rows: (N,) rows of the file.
            device: Where images are wanted.
            resident: Keep a copy on the device, unless it is larger than `RESIDENT_BYTES`.

        Raises:
            TrainingError: The file is not a packed image file, or has no such rows.
        """
        self._file = open_packed(images)
        self._rows = rows
        self._device = torch.device(device)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self._file)):
            raise TrainingError(
                f"rows {rows.min()} to {rows.max()} are asked of {images.path}, which has "
                f"{len(self._file)} images; pack the dataset again"
            )
        size = len(rows) * self._file[:1].nbytes
        self._resident = self._read(rows) if resident and size <= RESIDENT_BYTES else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, Ch) of every image."""
        _, height, width, channels = self._file.shape
        return height, width, channels

    def take(self, positions: Tensor) -> Tensor:
        """(B,) positions in `rows`, on the CPU -> (B, Ch, H, W) uint8 on the device."""
        if self._resident is not None:
            return self._resident[positions.to(self._device)]
        return self._read(self._rows[positions.numpy()])

    def _read(self, rows: Rows) -> Tensor:
        batch = torch.from_numpy(self._file[rows]).permute(0, 3, 1, 2).contiguous()
        if self._device.type == "cuda":
            return batch.pin_memory().to(self._device, non_blocking=True)
        return batch


class Viewed:
    """Images under one random view each, drawn when this is made."""

    def __init__(self, pixels: Pixels, views: Views, rng: torch.Generator) -> None:
        self._pixels, self._views = pixels, views
        self._draws = views.draw(len(pixels), rng)
        self.shape = pixels.shape

    def __len__(self) -> int:
        return len(self._pixels)

    def take(self, positions: Tensor) -> Tensor:
        """(B,) positions -> (B, Ch, H, W) in 0..255."""
        images = self._pixels.take(positions)
        return self._views.apply(images, self._draws[positions].to(images.device))


class Normaliser:
    """The evaluation transform: (B, Ch, H, W) in 0..255 -> float32 of mean 0 and deviation 1."""

    def __init__(self, images: Images, device: str) -> None:
        std = torch.tensor(images.std, device=device)
        self._scale = (1 / (255 * std)).view(-1, 1, 1)
        self._shift = (-torch.tensor(images.mean, device=device) / std).view(-1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32, copy=True).mul_(self._scale).add_(self._shift)


def open_packed(images: Images) -> npt.NDArray[np.uint8]:
    """The packed file as a read-only memory map (rows, H, W, Ch).

    Raises:
        TrainingError: It is missing, of another kind, or does not go with its normalisation.
    """
    try:
        packed: npt.NDArray[np.uint8] = np.load(images.path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{images.path} cannot be read ({error}); pack the dataset") from error
    if packed.dtype != np.uint8 or packed.ndim != 4:
        raise TrainingError(
            f"{images.path} holds {packed.dtype} {packed.shape}; a packed image file is uint8 "
            "(rows, H, W, Ch): pack the dataset again"
        )
    if not len(images.mean) == len(images.std) == packed.shape[3]:
        raise TrainingError(
            f"{images.path} has {packed.shape[3]} channels, but a mean of {len(images.mean)} and "
            f"a deviation of {len(images.std)} values; give one of each a channel"
        )
    return packed
