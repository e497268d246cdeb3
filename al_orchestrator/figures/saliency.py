"""Images beside what a learner looks at in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from al_orchestrator.figures.contact_sheet import MAX_IMAGES, arrange, sized

Maps = npt.NDArray[np.float32]
Scale = Literal["image", "row", "all"]
"""What shares a least and a greatest value: the pixels of a map, each row of them, or all maps."""

_GAP = 2  # white pixels between the three pictures of an image
_COLOURS = "inferno"
_STRONGEST = 0.75  # share of the colour in the overlay, where the map is 1
_TOGETHER: dict[Scale, tuple[int, ...]] = {"image": (1, 2), "row": (2,), "all": (0, 1, 2)}
_FOOT: dict[Scale, str] = {
    "image": "each map scaled over the whole image",
    "row": "maps scaled row by row",
    "all": "all maps on one scale",
}


def min_max(maps: Maps, scale: Scale = "image") -> Maps:
    """(B, H, W) -> from 0 to 1 where the least and the greatest value are; 0 where all is flat.

    With `image` a map is comparable in itself, with `all` maps are with each other. With `row`
    neither is: every row has a 1 of its own, as the notebook of usef-kh/fer draws it.
    """
    axes = _TOGETHER[scale]
    low = maps.min(axis=axes, keepdims=True)
    span = maps.max(axis=axes, keepdims=True) - low
    scaled: Maps = np.zeros_like(maps)
    np.divide(maps - low, span, out=scaled, where=span > 0)
    return scaled


def saliency_sheet(
    images: npt.NDArray[np.uint8],
    scaled: Maps,
    captions: Sequence[str],
    path: Path,
    *,
    scale: Scale = "image",
) -> None:
    """Writes each image as it is, its map, and the map laid over the image, as one PNG.

    Dark is 0. Images are enlarged or thinned as in `contact_sheet`. The line at the foot says how
    maps were scaled, and how many images are left out.

    Args:
        images: (B, H, W, Ch), Ch 1 or 3; the first `MAX_IMAGES` are shown.
        scaled: (B, H, W), maps as `min_max` leaves them.
        captions: One for each image.
        path: Where the sheet is written, whole or not at all.
        scale: What `min_max` was told.

    Raises:
        ValueError: There is no image, or not one map and one caption for each.
    """
    if len(images) == 0 or not len(images) == len(scaled) == len(captions):
        raise ValueError(
            f"{len(images)} images, {len(scaled)} maps and {len(captions)} captions; give one map "
            "and one caption for each of at least one image"
        )
    original = sized(images[:MAX_IMAGES])
    levels = (255 * scaled[:MAX_IMAGES, ..., None]).round().astype(np.uint8)
    strength = sized(levels)[..., :1] / 255
    colours = _coloured(strength[..., 0])
    share = _STRONGEST * strength
    overlay = ((1 - share) * original + share * colours).round().astype(np.uint8)
    paper = np.full((*original.shape[:2], _GAP, 3), 255, np.uint8)
    three = np.concatenate([original, paper, colours, paper, overlay], axis=2)
    left_out = len(images) - len(three)
    foot = _FOOT[scale] + (f"; and {left_out} more" if left_out else "")
    arrange(three, captions[: len(three)], foot, path)


def _coloured(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(B, H, W) from 0 to 1 -> (B, H, W, 3)."""
    import matplotlib as mpl

    table = (255 * mpl.colormaps[_COLOURS](np.linspace(0, 1, 256))[:, :3]).round().astype(np.uint8)
    return np.asarray(table[(255 * values).round().astype(np.int64)])
