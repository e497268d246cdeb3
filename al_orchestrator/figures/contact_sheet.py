"""The images of a query batch on one sheet, pixel for pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from al_orchestrator.files import replacing

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

MAX_IMAGES = 100

_SMALLEST_SIDE = 96  # pixels; smaller images are enlarged by a whole number
_LARGEST_SIDE = 256  # of larger ones every second, third, … pixel is shown
_GAP = 8
_LINE = 14
_FONT_SIZE = 11
_PAPER = (255, 255, 255)
_INK = (31, 41, 51)


def contact_sheet(images: npt.NDArray[np.uint8], captions: Sequence[str], path: Path) -> None:
    """Writes the first `MAX_IMAGES` images, in their order, each above its caption, as PNG.

    Small images are enlarged by repeating pixels and large ones thinned by leaving pixels out, so
    every pixel shown is one of the image. A line at the foot says how many images are left out.

    Args:
        images: (B, H, W, Ch), Ch 1 or 3.
        captions: One for each image; what does not fit under it is cut, line by line.
        path: Where the sheet is written, whole or not at all.

    Raises:
        ValueError: There is no image, or not one caption for each.
    """
    if len(images) == 0 or len(images) != len(captions):
        raise ValueError(
            f"{len(images)} images and {len(captions)} captions; give one caption for each of at "
            "least one image"
        )
    shown = sized(images[:MAX_IMAGES])
    left_out = len(images) - len(shown)
    foot = f"and {left_out} more" if left_out else ""
    arrange(shown, captions[: len(shown)], foot, path)


def arrange(shown: npt.NDArray[np.uint8], captions: Sequence[str], foot: str, path: Path) -> None:
    """Writes images (B, H, W, 3) as they are, each above its caption, and a line at the foot."""
    from PIL import Image, ImageDraw, ImageFont

    lines = max(caption.count("\n") + 1 for caption in captions)
    grid = _Grid(len(shown), shown.shape[1], shown.shape[2], lines)
    sheet = Image.new("RGB", (grid.width, grid.height + (_LINE + _GAP if foot else 0)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for number, (pixels, caption) in enumerate(zip(shown, captions, strict=True)):
        left, top = grid.corner(number)
        sheet.paste(Image.fromarray(pixels), (left, top))
        for line_number, line in enumerate(caption.split("\n")):
            at = (left, top + grid.image_height + 2 + line_number * _LINE)
            draw.text(at, _fitting(line, font, grid.image_width), fill=_INK, font=font)
    line = _fitting(foot, font, sheet.width - 2 * _GAP)
    draw.text((_GAP, grid.height), line, fill=_INK, font=font)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


class _Grid:
    """Where each image of a nearly square sheet goes."""

    def __init__(self, count: int, image_height: int, image_width: int, lines: int) -> None:
        self.image_height, self.image_width = image_height, image_width
        self.columns = int(np.ceil(np.sqrt(count)))
        rows = -(-count // self.columns)
        self.cell_height = image_height + lines * _LINE + _GAP
        self.width = _GAP + self.columns * (image_width + _GAP)
        self.height = _GAP + rows * self.cell_height

    def corner(self, number: int) -> tuple[int, int]:
        """Left and top of the image `number`."""
        row, column = divmod(number, self.columns)
        return _GAP + column * (self.image_width + _GAP), _GAP + row * self.cell_height


def sized(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(B, H, W, Ch) -> (B, H', W', 3), H' and W' the same multiple or fraction of H and W."""
    every = -(-max(images.shape[1:3]) // _LARGEST_SIDE)
    times = max(1, -(-_SMALLEST_SIDE // min(images.shape[1:3]))) if every == 1 else 1
    sized = images[:, ::every, ::every].repeat(times, axis=1).repeat(times, axis=2)
    return np.ascontiguousarray(np.broadcast_to(sized, (*sized.shape[:3], 3)))


def _fitting(line: str, font: FreeTypeFont | ImageFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"
