"""Figures are images of the size they should have, and the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from al_orchestrator.figures import (
    Bar,
    Curve,
    Scale,
    class_histogram,
    confusion_matrix,
    contact_sheet,
    grouped_bars,
    learning_curves,
    min_max,
    reliability_diagram,
    saliency_sheet,
)

CLASSES = ("angry", "happy", "sad")
COUNTS = np.array([[8, 1, 1], [0, 20, 0], [0, 0, 0]])
LABELS = np.array([10.0, 20.0, 40.0])
LOW, MEAN, HIGH = (np.array([a, a + 0.1, a + 0.2]) for a in (0.2, 0.3, 0.4))
CURVES = [
    Curve("random", LABELS, MEAN, LOW, HIGH, ((LABELS, LOW), (LABELS, HIGH)), is_reference=True),
    Curve("badge", LABELS, HIGH),
]
BARS: list[list[Bar | None]] = [[Bar(0.5, 0.4, 0.6, (0.45, 0.55)), Bar(0.7)], [None, Bar(0.3)]]

BINS = np.array([0, 4, 1, 10])
SURE, RIGHT = np.array([np.nan, 0.4, 0.7, 0.9]), np.array([np.nan, 0.5, 0.0, 0.8])

DRAWINGS: dict[str, Callable[[Path], None]] = {
    "confusion": lambda path: confusion_matrix(COUNTS, CLASSES, path),
    "histogram": lambda path: class_histogram(COUNTS.sum(axis=1), CLASSES, path),
    "reliability": lambda path: reliability_diagram(BINS, SURE, RIGHT, path, error=0.125),
    "bars": lambda path: grouped_bars(BARS, ["adam", "sgd"], ["step", "cosine"], path, metric="m"),
    "curves": lambda path: learning_curves(CURVES, path, metric="test/accuracy", mark="pilot"),
}


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_drawn_again_is_equal_byte_for_byte(
    name: str, suffix: str, tmp_path: Path
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    DRAWINGS[name](first)
    DRAWINGS[name](second)
    assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_learning_curves_are_as_large_as_they_should_be(tmp_path: Path) -> None:
    learning_curves(CURVES, tmp_path / "curves.png", metric="test/accuracy")
    with Image.open(tmp_path / "curves.png") as image:
        assert (image.format, image.size) == ("PNG", (1120, 704))  # 7.0 x 4.4 inches at 160 dpi


def test_learning_curves_name_their_axes_strategies_seeds_and_mark(tmp_path: Path) -> None:
    learning_curves(
        CURVES, tmp_path / "curves.svg", metric="test/accuracy", title="faces", mark="pilot"
    )
    text = (tmp_path / "curves.svg").read_text()
    for word in ("test/accuracy", "random  (2 seeds)", "badge  (1 seed)", "faces"):
        assert f">{word}</text>" in text
    assert ">pilot</text>" in text
    assert ">labels  (band: 95 % interval of the mean)</text>" in text


def test_without_an_interval_no_band_is_promised(tmp_path: Path) -> None:
    learning_curves(CURVES[1:], tmp_path / "curves.svg", metric="test/accuracy")
    assert "band:" not in (tmp_path / "curves.svg").read_text()


def test_a_confusion_matrix_prints_counts_and_the_accuracy(tmp_path: Path) -> None:
    confusion_matrix(COUNTS, CLASSES, tmp_path / "confusion.svg")
    text = (tmp_path / "confusion.svg").read_text()
    assert ">28 of 30 right (93.3%)</text>" in text
    assert ">sad  0</text>" in text  # a class the test set lacks
    assert text.count(">20</text>") == 1


def test_a_histogram_prints_each_count_and_share(tmp_path: Path) -> None:
    class_histogram(np.array([1, 3, 0]), CLASSES, tmp_path / "classes.svg")
    text = (tmp_path / "classes.svg").read_text()
    for word in ("1", "25%", "3", "75%", "0", "0%", "4 samples in 3 classes"):
        assert f">{word}</text>" in text


def test_a_reliability_diagram_prints_the_error_and_the_count_of_each_bin(tmp_path: Path) -> None:
    reliability_diagram(BINS, SURE, RIGHT, tmp_path / "reliability.svg", error=0.12345)
    text = (tmp_path / "reliability.svg").read_text()
    assert ">ECE 0.1235 of 15 images</text>" in text
    assert [text.count(f">{count}</text>") for count in (0, 4, 1, 10)] == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="one value a bin each"):
        reliability_diagram(BINS[:3], SURE, RIGHT, tmp_path / "a.png", error=0.0)


def test_counts_that_do_not_fit_the_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) do not fit 3 classes.*\(3, 3\)"):
        confusion_matrix(COUNTS[:2], CLASSES, tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"\(2,\) do not fit 3 classes"):
        class_histogram(np.array([1, 2]), CLASSES, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_format_nobody_can_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'a\.bmp' must end in \.png or \.svg"):
        learning_curves(CURVES, tmp_path / "a.bmp", metric="m")


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        learning_curves([], tmp_path / "a.png", metric="m")


def sheet_of(
    images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], path: Path
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    contact_sheet(images, [f"{number}" for number in range(len(images))], path)
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_contact_sheet_shows_the_pixels_unchanged(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
    sheet = sheet_of(images, tmp_path / "sheet.png")
    # Two columns of 96 pixels, 8 apart; below each image 14 for its caption and 8 of air.
    assert sheet.shape == (8 + 2 * 118, 8 + 2 * 104, 3)
    corners = [(8, 8), (8, 112), (126, 8), (126, 112)]
    for image, (top, left) in zip(images, corners, strict=True):
        np.testing.assert_array_equal(sheet[top : top + 96, left : left + 96], image)


def test_small_grey_images_are_enlarged_by_repeating_pixels(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 1), dtype=np.uint8)
    shown = sheet_of(image, tmp_path / "sheet.png")[8:104, 8:104]
    for channel in range(3):
        np.testing.assert_array_equal(shown[::2, ::2, channel], image[0, :, :, 0])
        np.testing.assert_array_equal(shown[1::2, 1::2, channel], image[0, :, :, 0])


def test_large_images_are_thinned(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 512, 300, 3), dtype=np.uint8)
    shown = sheet_of(image, tmp_path / "sheet.png")[8:264, 8:158]
    np.testing.assert_array_equal(shown, image[0, ::2, ::2])


def test_a_sheet_has_at_most_a_hundred_images_and_a_line_for_the_rest(tmp_path: Path) -> None:
    images = np.zeros((103, 8, 8, 1), dtype=np.uint8)
    with_rest = sheet_of(images, tmp_path / "rest.png")
    without = sheet_of(images[:100], tmp_path / "all.png")
    assert with_rest.shape[0] == without.shape[0] + 22
    assert (with_rest[without.shape[0] :] < 255).any()


def test_a_long_caption_stays_below_its_own_image(tmp_path: Path) -> None:
    images = np.full((2, 96, 96, 1), 255, dtype=np.uint8)
    contact_sheet(images, ["a caption much wider than its image" * 3, ""], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        sheet = np.asarray(image)
    assert (sheet[:, :106] < 255).any()
    assert (sheet[:, 106:] == 255).all()


def test_maps_are_scaled_over_the_whole_image_each_by_itself() -> None:
    maps = np.array([[[1.0, 2.0], [3.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]], np.float32)
    assert min_max(maps).tolist() == [[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]]


def test_maps_are_scaled_over_the_image_over_rows_or_together() -> None:
    maps = np.array([[[0, 1], [2, 4]], [[8, 8], [6, 8]]], np.float32)
    assert min_max(maps).tolist() == [[[0, 0.25], [0.5, 1]], [[1, 1], [0, 1]]]
    assert min_max(maps, "row").tolist() == [[[0, 1], [0, 1]], [[0, 0], [0, 1]]]
    assert min_max(maps, "all").tolist() == [[[0, 0.125], [0.25, 0.5]], [[1, 1], [0.75, 1]]]
    assert not min_max(np.full((2, 3, 3), 7, np.float32), "all").any()


def test_a_saliency_sheet_says_how_maps_were_scaled(tmp_path: Path) -> None:
    images = np.zeros((2, 96, 96, 1), np.uint8)
    maps = np.zeros((2, 96, 96), np.float32)
    feet: list[bytes] = []
    for scale in get_args(Scale):
        saliency_sheet(images, maps, ["", ""], tmp_path / "sheet.png", scale=scale)
        with Image.open(tmp_path / "sheet.png") as image:
            sheet = np.asarray(image)
        foot = sheet[8 + 96 + 14 + 8 :]
        assert (foot != 255).any()
        feet.append(foot.tobytes())
    assert len(set(feet)) == 3


def test_a_saliency_sheet_shows_image_map_and_overlay(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 1), dtype=np.uint8)
    maps = np.zeros((2, 96, 96), np.float32)
    maps[0, 10, 20] = 7.0
    saliency_sheet(images, min_max(maps), ["happy\nsad 0.9", ""], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image)
    # Two columns of three pictures of 96 pixels, 2 apart; two lines of captions; a foot.
    assert sheet.shape == (8 + 96 + 28 + 8 + 14 + 8, 8 + 2 * (3 * 96 + 2 * 2 + 8), 3)
    original, coloured, overlay = (sheet[8:104, 8 + at : 104 + at] for at in (0, 98, 196))
    assert (original == images[0]).all()
    assert (coloured[0, 0] == (0, 0, 4)).all()  # the dark end of the colours
    assert coloured[10, 20].astype(int).sum() > 500
    changed = (overlay != original).any(axis=2)
    assert changed[10, 20]
    assert changed.sum() == 1
    with pytest.raises(ValueError, match="2 images, 1 maps"):
        saliency_sheet(images, maps[:1], ["", ""], tmp_path / "b.png")


def test_captions_must_be_as_many_as_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 images and 1 captions"):
        contact_sheet(np.zeros((2, 8, 8, 1), np.uint8), ["one"], tmp_path / "a.png")


def test_bars_start_at_0_and_name_what_they_stand_for(tmp_path: Path) -> None:
    path = tmp_path / "bars.svg"
    grouped_bars(BARS, ["adam", "sgd"], ["step", "cosine"], path, metric="accuracy", title="faces")
    text = path.read_text()
    for word in ("adam", "sgd", "step", "cosine", "accuracy", "faces", "0.500", "0.700", "0.300"):
        assert f">{word}</text>" in text
    assert ">0.0</text>" in text
    for colour in ("#0072b2", "#d55e00"):
        assert text.count(f"fill: {colour}") >= 2  # a bar, and what the legend calls it


@pytest.mark.parametrize("bars", [[], [[Bar(1.0)]], [[Bar(1.0), None], [None]]])
def test_bars_that_do_not_fit_their_names_are_refused(
    bars: list[list[Bar | None]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="give each place one bar a colour"):
        grouped_bars(bars, ["adam", "sgd"], ["step", "cosine"], tmp_path / "a.png", metric="m")
