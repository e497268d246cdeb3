"""Images of every kind, and things that only look like images."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from al_orchestrator.datasets.base import Skipped
from al_orchestrator.datasets.decoding import (
    MAX_BYTES,
    UnreadableImage,
    decode,
    refuse_or_skip,
)
from al_orchestrator.errors import DatasetError

Pixels = npt.NDArray[np.uint8]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(mode: str, value: int | tuple[int, ...]) -> Image.Image:
    return Image.new(mode, (3, 2), value)


def palette() -> Image.Image:
    image = flat("P", 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image


@pytest.mark.parametrize(
    ("image", "grey", "colour"),
    [
        (flat("L", 100), 100, (100, 100, 100)),
        # ITU-R 601: 0.299 R + 0.587 G + 0.114 B.
        (flat("RGB", (200, 100, 50)), 124, (200, 100, 50)),
        (flat("1", 1), 255, (255, 255, 255)),
        # Half transparent over black.
        (flat("RGBA", (200, 100, 50, 128)), 62, (100, 50, 25)),
        (flat("LA", (100, 0)), 0, (0, 0, 0)),
        (flat("I;16", 257 * 40 + 200), 41, (41, 41, 41)),
        (flat("I;16", 65535), 255, (255, 255, 255)),
        (palette(), 18, (10, 20, 30)),
    ],
    ids=["grey", "colour", "bits", "half", "clear", "16 bits", "16 bits white", "palette"],
)
def test_every_kind_of_image_is_converted_by_the_declared_rule(
    image: Image.Image, grey: int, colour: tuple[int, int, int]
) -> None:
    encoded = encode(image)

    assert decode(encoded, channels=1)[..., 0].tolist() == [[grey] * 3] * 2
    assert decode(encoded, channels=3).tolist() == [[list(colour)] * 3] * 2


def test_cmyk_jpegs_become_rgb() -> None:
    encoded = encode(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=100)

    red, green, blue = decode(encoded, channels=3)[0, 0].tolist()
    assert red > 250
    assert max(green, blue) < 6


def test_16_bit_colour_is_cut_to_its_high_byte() -> None:
    row = b"\0" + 3 * struct.pack(">HHH", 200 * 256 + 255, 100 * 256, 50 * 256 + 128)
    encoded = png_of(3, 2, 16, 2, 2 * row)

    assert decode(encoded, channels=3).tolist() == [[[200, 100, 50]] * 3] * 2


def test_whole_pixels_are_read_where_metadata_are_broken() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a maker's name"
    encoded = encode(flat("L", 70), "JPEG", exif=exif.tobytes()[:-6], quality=100)

    assert np.abs(decode(encoded, channels=1).astype(int) - 70).max() <= 1


def test_a_pipe_and_a_file_without_end_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)

    for name, reason in {
        "pipe.png": "not a file",
        "huge.png": "too many bytes",
        ".": "not a file",
    }.items():
        with pytest.raises(UnreadableImage) as error:
            decode(tmp_path / name, channels=1)
        assert error.value.reason == reason


def test_a_palette_with_a_clear_colour_is_laid_over_black() -> None:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 255, 255, 255])
    encoded = encode(image, transparency=1)

    assert decode(encoded, channels=1).max() == 0


def test_an_image_is_turned_upright_as_its_exif_says() -> None:
    pixels = np.zeros((8, 16), dtype=np.uint8)
    pixels[:, :8] = 255  # white on the left; orientation 6 stores the picture turned to the left
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(Image.fromarray(pixels), "JPEG", exif=exif)

    upright = decode(encoded, channels=1)[..., 0]
    assert upright.shape == (16, 8)
    assert upright[2].min() > 200
    assert upright[-3].max() < 50


def test_an_animation_gives_its_first_frame() -> None:
    frames = [flat("L", 10), flat("L", 200)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert decode(encoded, channels=1).max() == 10


def test_crop_takes_the_centre_and_stretch_takes_all() -> None:
    pixels = np.zeros((8, 24), dtype=np.uint8)
    pixels[:, 8:16] = 255
    encoded = encode(Image.fromarray(pixels))

    cropped = decode(encoded, channels=1, image_size=8, fit="crop")
    stretched = decode(encoded, channels=1, image_size=8, fit="stretch")
    assert cropped.shape == stretched.shape == (8, 8, 1)
    assert cropped.min() == 255
    assert stretched.min() == 0
    assert stretched.max() == 255


def test_an_image_of_the_asked_size_is_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)

    decoded = decode(encode(Image.fromarray(pixels)), channels=1, image_size=16)
    np.testing.assert_array_equal(decoded[..., 0], pixels)


def png_of(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand: what Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a hundred bytes; its pixels are never sent."""
    return png_of(60_000, 60_000, 8, 0, b"")


def text_bomb() -> bytes:
    """A small PNG whose comment unpacks to 80 MB."""
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "0" * 80_000_000, zip=True)
    return encode(flat("L", 1), pnginfo=info)


def large() -> bytes:
    """Between this project's limit and Pillow's own."""
    return encode(Image.new("1", (10_000, 9_000)))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "not an image"),
        (encode(Image.effect_noise((48, 48), 60.0))[:900], "truncated or corrupt"),
        (encode(Image.effect_noise((48, 48), 60.0), "JPEG")[:500], "truncated or corrupt"),
        (bomb(), "too many pixels"),
        (large(), "too many pixels"),
        (text_bomb(), "truncated or corrupt"),
        (encode(flat("RGB", (1, 2, 3)), "EPS"), "not an image"),
        (encode(Image.new("F", (3, 2), 0.5), "TIFF"), "floating-point image"),
        (encode(Image.new("I", (3, 2), -5), "TIFF"), "grey values beyond 16 bits"),
    ],
    ids=[
        "empty",
        "html",
        "cut PNG",
        "cut JPEG",
        "bomb",
        "large",
        "text bomb",
        "EPS",
        "float",
        "negative",
    ],
)
def test_what_is_no_whole_image_is_refused_with_a_reason(encoded: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage) as error:
        decode(encoded, channels=1)

    assert error.value.reason == reason


def test_a_link_to_nowhere_is_an_unreadable_image(tmp_path: Path) -> None:
    link = tmp_path / "face.png"
    link.symlink_to(tmp_path / "gone.png")

    with pytest.raises(UnreadableImage, match="cannot be opened"):
        decode(link, channels=1)


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"])
)
def test_no_bytes_raise_anything_but_unreadable_image(tail: bytes, head: bytes) -> None:
    try:
        image = decode(head + tail, channels=3)
    except UnreadableImage:
        return
    assert image.shape[2] == 3


@given(st.data())
def test_a_damaged_image_is_decoded_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "GIF", "BMP", "JPEG", "PPM", "TIFF", "WEBP"]))
    mode = "L" if kind in {"JPEG", "PPM"} else "P"
    whole = bytearray(encode(Image.new(mode, (9, 7), 3), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    try:
        image = decode(bytes(whole), channels=1)
    except UnreadableImage:
        return
    assert image.dtype == np.uint8


def test_the_config_decides_between_stopping_and_counting() -> None:
    error = UnreadableImage("empty file")

    assert refuse_or_skip(error, "a/b.png", "skip") == Skipped("a/b.png", "empty file")
    with pytest.raises(DatasetError, match=r"a/b\.png: empty file; .*on_bad_image: skip"):
        refuse_or_skip(error, "a/b.png", "refuse")


def test_encoding_without_loss_gives_the_same_pixels_again(
    gradient: Callable[[int], Pixels], png: Callable[[Pixels], bytes]
) -> None:
    np.testing.assert_array_equal(decode(png(gradient(5)), channels=1)[..., 0], gradient(5))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_the_standard_says(orientation: int) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(Image.fromarray(pixels), "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    assert np.array_equal(decode(encoded, channels=1)[..., 0], np.asarray(upright))
