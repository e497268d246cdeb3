"""Small sources, written to disk as their publishers lay them out."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def gradient() -> Callable[[int], Pixels]:
    """Makes a 48 x 48 grey picture for a number; other numbers, other pixels."""

    def make(number: int) -> Pixels:
        across, down = np.arange(48), np.arange(48)[:, None]
        return ((across * (number + 1) + down * 3 + number) % 256).astype(np.uint8)

    return make


@pytest.fixture
def png() -> Callable[[Pixels], bytes]:
    """Encodes a picture without loss."""

    def encode(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def picture_tree(
    tmp_path: Path, png: Callable[[Pixels], bytes]
) -> Callable[[dict[str, int]], Path]:
    """Writes 6 x 4 grey PNGs of one level each: {"train/cat/a.png": 10, …}; returns the root."""

    def write(levels: dict[str, int]) -> Path:
        root = tmp_path / "pictures"
        for name, level in levels.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(np.full((4, 6), level, dtype=np.uint8)))
        return root

    return write
