from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from trainers import Images, TrainingError
from trainers.deep import images as module
from trainers.deep.images import Normaliser, Pixels, open_packed

pytestmark = pytest.mark.torch


def packed(tmp_path: Path, array: npt.NDArray[np.generic], channels: int) -> Images:
    np.save(tmp_path / "packed.npy", array)
    return Images(tmp_path / "packed.npy", mean=(0.5,) * channels, std=(0.25,) * channels)


def test_pixels_come_in_the_order_asked_for_with_channels_first(tmp_path: Path) -> None:
    array = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    pixels = Pixels(packed(tmp_path, array, 3), np.array([3, 1]), "cpu")
    taken = pixels.take(torch.tensor([1, 0, 1]))
    assert (taken.numpy() == array[[1, 3, 1]].transpose(0, 3, 1, 2)).all()
    assert (len(pixels), pixels.shape) == (2, (2, 2, 3))


def test_a_resident_copy_and_the_file_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 3, 3, 1), dtype=np.uint8)
    images, rows, positions = packed(tmp_path, array, 1), np.array([8, 0, 5]), torch.tensor([2, 0])
    resident = Pixels(images, rows, "cpu", resident=True).take(positions)
    monkeypatch.setattr(module, "RESIDENT_BYTES", 26)
    streamed = Pixels(images, rows, "cpu", resident=True).take(positions)
    assert torch.equal(resident, streamed)


def test_the_evaluation_transform_scales_and_normalises_each_channel(tmp_path: Path) -> None:
    images = Images(tmp_path / "x.npy", mean=(0.0, 0.5), std=(1.0, 0.25))
    pixels = torch.tensor([[[[255]], [[0]]]], dtype=torch.uint8)
    normalised = Normaliser(images, "cpu")(pixels)
    assert normalised.flatten().tolist() == pytest.approx([1.0, -2.0])
    assert normalised.dtype == torch.float32


def test_float_views_are_not_changed_in_place(tmp_path: Path) -> None:
    views = torch.ones(1, 1, 2, 2)
    Normaliser(Images(tmp_path / "x.npy", mean=(0.5,), std=(0.25,)), "cpu")(views)
    assert (views == 1).all()


def test_rows_beyond_the_file_are_refused(tmp_path: Path) -> None:
    images = packed(tmp_path, np.zeros((4, 2, 2, 1), np.uint8), 1)
    with pytest.raises(TrainingError, match=r"rows 0 to 4 .* has 4 images"):
        Pixels(images, np.array([0, 4]), "cpu")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 2, 2, 1), np.float32), "float32"),
        (np.zeros((4, 2, 2), np.uint8), r"uint8 \(4, 2, 2\)"),
        (np.zeros((4, 2, 2, 3), np.uint8), "3 channels"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, array: npt.NDArray[np.generic], says: str
) -> None:
    with pytest.raises(TrainingError, match=says):
        open_packed(packed(tmp_path, array, 1))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.npy cannot be read"):
        open_packed(Images(tmp_path / "gone.npy", mean=(0.5,), std=(0.25,)))
