"""Turns encoded images of any kind into uint8 arrays by declared rules, and says why it cannot.

The rules: the first frame of an animation; turned upright as EXIF says, where it can be read;
transparency laid over black; 16-bit grey divided by 257 and rounded, 16-bit colour cut to its high
byte; colour to grey by ITU-R 601 luma; any other colour space through RGB. What a file is, its
content says and not its name: one of `FORMATS`, which are those of `folders.IMAGE_SUFFIXES`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.base import Skipped
from al_orchestrator.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image

OnBadImage = Literal["refuse", "skip"]
Channels = Literal[1, 3]
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(TypeError, KeyError, IndexError, OverflowError, ZeroDivisionError),
)
"""What Pillow raises of files that are damaged, or were never whole."""

Fit = Literal["crop", "stretch"]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the upright image; right and bottom are outside."""

MAX_PIXELS = 64 * 2**20
"""Larger images are refused before they are decoded: a small file may unpack to terabytes."""

MAX_BYTES = 2**30
"""Larger files are not read."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The rest of what Pillow knows is no image here: some of it runs other programs to be drawn."""

_WIDE_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")


class UnreadableImage(ValueError):
    """An image cannot be decoded. `args[0]` is one of few reasons, so that they can be counted."""

    @property
    def reason(self) -> str:
        return str(self.args[0])

    @property
    def detail(self) -> str:
        """The reason with what was met, which differs from file to file."""
        return f"{self.reason} ({self.__cause__})" if self.__cause__ is not None else self.reason


def refuse_or_skip(error: UnreadableImage, source: str, on_bad_image: OnBadImage) -> Skipped:
    """What to yield for an unreadable image.

    Raises:
        DatasetError: The config does not ask to skip.
    """
    if on_bad_image == "refuse":
        raise DatasetError(
            f"{source}: {error.detail}; mend or remove it, "
            "or set `on_bad_image: skip` to count such images and go on"
        ) from error
    return Skipped(source=source, reason=error.reason)


def decode(
    source: bytes | Path,
    *,
    channels: Channels,
    image_size: int | None = None,
    fit: Fit = "crop",
    box: Box | None = None,
) -> npt.NDArray[np.uint8]:
    """The image (H, W, Ch), resized to `image_size` on both sides where one is given.

    With a `box` it is what of the image lies in it.

    Raises:
        UnreadableImage: It is not an image, truncated, corrupt, too large, or of a kind without a
            rule, the file cannot be opened, or nothing of the image lies in the box.
    """
    from PIL import Image, UnidentifiedImageError

    encoded = source if isinstance(source, bytes) else _read(source)
    if not encoded:
        raise UnreadableImage("empty file")
    try:
        with warnings.catch_warnings():
            # Of 90 megapixels and more, where the limit below is stricter and an error, and of
            # metadata that nothing here depends on: pixels that are not whole raise.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                return _convert(image, channels, image_size, fit, box)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:  # It says no more than that.
        raise UnreadableImage("not an image") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage("too many pixels") from error
    except _DAMAGE as error:
        raise UnreadableImage("truncated or corrupt") from error


def _read(path: Path) -> bytes:
    try:
        stat = path.stat()
        # A pipe would be waited for, and a device need not end.
        if not S_ISREG(stat.st_mode):
            raise UnreadableImage("not a file")
        if stat.st_size > MAX_BYTES:
            raise UnreadableImage("too many bytes")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage("file cannot be opened") from error


def _convert(
    image: Image.Image, channels: Channels, image_size: int | None, fit: Fit, box: Box | None
) -> npt.NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage("too many pixels")
    image.load()
    upright = _upright(image) if box is None else _cut(_upright(image), box)
    flat = _flatten(upright).convert("L" if channels == 1 else "RGB")
    if image_size is not None and flat.size != (image_size, image_size):
        flat = resize(flat, image_size, fit)
    pixels = np.array(flat, dtype=np.uint8)
    return pixels.reshape(flat.height, flat.width, channels)


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ExifTags, Image

    # Pillow's own way writes all other tags again, and fails where one of them is odd.
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _cut(image: Image.Image, box: Box) -> Image.Image:
    left, top = max(0, box[0]), max(0, box[1])
    right, bottom = min(image.width, box[2]), min(image.height, box[3])
    if right <= left or bottom <= top:
        raise UnreadableImage("face box outside of the image")
    return image.crop((left, top, right, bottom))


def _flatten(image: Image.Image) -> Image.Image:
    """The image as 8-bit grey or RGB, without transparency."""
    from PIL import Image

    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode in _WIDE_GREY:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableImage("grey values beyond 16 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImage("floating-point image")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        black = Image.new("RGBA", clear.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, clear).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def resized(pixels: npt.NDArray[np.uint8], image_size: int) -> npt.NDArray[np.uint8]:
    """(H, W, Ch) to (image_size, image_size, Ch), by the same law as `decode`."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    smaller = np.array(resize(image, image_size, "stretch"), dtype=np.uint8)
    return smaller.reshape(image_size, image_size, pixels.shape[2])


def resize(image: Image.Image, image_size: int, fit: Fit) -> Image.Image:
    """A square image: its centre, or all of it stretched; bilinear, antialiased."""
    from PIL import Image, ImageOps

    target = (image_size, image_size)
    if fit == "crop":
        return ImageOps.fit(image, target, method=Image.Resampling.BILINEAR)
    return image.resize(target, Image.Resampling.BILINEAR)
