"""Random views a second: all images of a batch at once against one image at a time with Pillow.

Run ``python -m benchmarks.augmentation``; both sides are timed in turn in one process, so quote
the ratio rather than the rates. Views end as normalised float32 tensors on both sides.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from trainers.base import Images
from trainers.deep.images import Normaliser
from trainers.deep.seeding import generator
from trainers.deep.views import Views, views_of
from trainers.recipes import PadCrop, ResizedCrop

NORMALISATION = Images(path=Path("none.npy"), mean=(0.5,), std=(0.25,))
BATCH = 512

Pixels = npt.NDArray[np.uint8]  # (N, H, W)
Draws = npt.NDArray[np.int64]


def pad_crop_with_pillow(image: Image.Image, draw: Draws, padding: int) -> Image.Image:
    top, left, flip = (int(value) for value in draw)
    framed = ImageOps.expand(image, border=padding)
    seen = framed.crop((left, top, left + image.width, top + image.height))
    return ImageOps.mirror(seen) if flip else seen


def resized_crop_with_pillow(image: Image.Image, draw: Draws) -> Image.Image:
    top, left, height, width, flip = (int(value) for value in draw)
    # Not resize(box=...): that looks beyond the edges of the part.
    part = image.crop((left, top, left + width, top + height))
    seen = part.resize(image.size, Image.Resampling.BILINEAR)
    return ImageOps.mirror(seen) if flip else seen


def one_at_a_time(
    pixels: Pixels, draws: Draws, view: Callable[[Image.Image, Draws], Image.Image]
) -> Iterator[Tensor]:
    """Batches (B, 1, H, W), made image by image from memory."""
    for start in range(0, len(pixels), BATCH):
        views = []
        for n in range(start, min(start + BATCH, len(pixels))):
            seen = np.asarray(view(Image.fromarray(pixels[n]), draws[n]), dtype=np.float32)
            views.append(torch.from_numpy((seen / 255 - 0.5) / 0.25)[None])
        yield torch.stack(views)


def all_at_once(
    pixels: Tensor, draws: Tensor, views: Views, normalise: Normaliser
) -> Iterator[Tensor]:
    """Batches (B, 1, H, W)."""
    for batch, drawn in zip(torch.split(pixels, BATCH), torch.split(draws, BATCH), strict=True):
        yield normalise(views.apply(batch, drawn))


def seconds(work: Callable[[], Iterable[Tensor]], repeats: int) -> float:
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        deque(work(), maxlen=0)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def compare(
    name: str,
    views: Views,
    view: Callable[[Image.Image, Draws], Image.Image],
    options: argparse.Namespace,
) -> None:
    shape = (options.images, options.size, options.size)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    draws = views.draw(options.images, generator(0))
    batch, normalise = torch.from_numpy(pixels)[:, None], Normaliser(NORMALISATION, "cpu")
    ours = seconds(lambda: all_at_once(batch, draws, views, normalise), options.repeats)
    drawing = seconds(lambda: [views.draw(options.images, generator(0))], options.repeats)
    slow = seconds(lambda: one_at_a_time(pixels, draws.numpy(), view), options.repeats)
    gap = torch.cat(list(all_at_once(batch, draws, views, normalise))) - torch.cat(
        list(one_at_a_time(pixels, draws.numpy(), view))
    )
    print(
        f"{name:13} {options.images / (ours + drawing):>10,.0f} views/s at once, "
        f"{options.images / slow:>8,.0f} one by one: {slow / (ours + drawing):5.1f} times; "
        f"largest difference {gap.abs().max().item() * 0.25 * 255:.2f} grey levels"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = (options.size, options.size)
    print(f"{options.images} grey images of {size[0]} x {size[1]}, {options.threads} threads")
    pad_crop, resized_crop = PadCrop(), ResizedCrop()
    compare(
        "pad_crop",
        views_of(pad_crop, size),
        lambda image, draw: pad_crop_with_pillow(image, draw, pad_crop.padding),
        options,
    )
    compare("resized_crop", views_of(resized_crop, size), resized_crop_with_pillow, options)


if __name__ == "__main__":
    main()
