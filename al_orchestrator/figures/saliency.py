"""Images beside what a learner looks at in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from al_orchestrator.figures.contact_sheet import MAX_IMAGES, arrange, sized

Maps = npt.NDArray[np.float32]

_GAP = 2  # white pixels between the three pictures of an image
_COLOURS = "inferno"
_STRONGEST = 0.75  # share of the colour in the overlay, where the map is 1


def min_max(maps: Maps) -> Maps:
    """(B, H, W), each by itself over all of its pixels -> from 0 to 1; all 0 where it is flat."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    scaled: Maps = np.zeros_like(maps)
    np.divide(maps - low, span, out=scaled, where=span > 0)
    return scaled


def saliency_sheet(
    images: npt.NDArray[np.uint8], maps: Maps, captions: Sequence[str], path: Path
) -> None:
    """Writes each image as it is, its map, and the map laid over the image, as one PNG.

    Maps are scaled by `min_max`; dark is 0. Images are enlarged or thinned as in `contact_sheet`.

    Args:
        images: (B, H, W, Ch), Ch 1 or 3; the first `MAX_IMAGES` are shown.
        maps: (B, H, W), 0 and more.
        captions: One for each image.
        path: Where the sheet is written, whole or not at all.

    Raises:
        ValueError: There is no image, or not one map and one caption for each.
    """
    if len(images) == 0 or not len(images) == len(maps) == len(captions):
        raise ValueError(
            f"{len(images)} images, {len(maps)} maps and {len(captions)} captions; give one map "
            "and one caption for each of at least one image"
        )
    shown, scaled = images[:MAX_IMAGES], min_max(maps[:MAX_IMAGES])
    original = sized(shown)
    strength = sized((255 * scaled[..., None]).round().astype(np.uint8))[..., :1] / 255
    colours = _coloured(strength[..., 0])
    share = _STRONGEST * strength
    overlay = ((1 - share) * original + share * colours).round().astype(np.uint8)
    paper = np.full((*original.shape[:2], _GAP, 3), 255, np.uint8)
    three = np.concatenate([original, paper, colours, paper, overlay], axis=2)
    arrange(three, captions[: len(three)], len(images) - len(three), path)


def _coloured(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(B, H, W) from 0 to 1 -> (B, H, W, 3)."""
    import matplotlib as mpl

    table = (255 * mpl.colormaps[_COLOURS](np.linspace(0, 1, 256))[:, :3]).round().astype(np.uint8)
    return np.asarray(table[(255 * values).round().astype(np.int64)])
