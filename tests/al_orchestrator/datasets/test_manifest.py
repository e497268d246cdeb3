"""The manifest: what it says, and how it is stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.datasets.base import Manifest
from al_orchestrator.datasets.manifest import (
    ManifestBuilder,
    count_levels,
    hash_image,
    normalisation,
    read_manifest,
    write_manifest,
)
from al_orchestrator.errors import DatasetError


def built(
    rows: list[tuple[str, str, int, str]], classes: tuple[str, ...] = ("no", "yes")
) -> Manifest:
    builder = ManifestBuilder(classes)
    for name, split, label, image_hash in rows:
        builder.ids.append(name)
        builder.splits.append(split)
        builder.labels.append(label)
        builder.hashes.append(image_hash)
    levels = count_levels(np.array([[[[0], [255]]]], dtype=np.uint8))
    return builder.build((1, 2, 1), levels, {"empty file": 2})


ROWS = [("b", "train", 1, "beef"), ("a", "test", 0, "cafe"), ("c", "train", -1, "f00d")]


def test_rows_are_put_in_order_of_id() -> None:
    manifest = built(ROWS)

    assert manifest.ids.tolist() == ["a", "b", "c"]
    assert manifest.splits.tolist() == ["test", "train", "train"]
    assert manifest.labels.tolist() == [0, 1, -1]
    assert manifest.image_hashes.tolist() == ["cafe", "beef", "f00d"]
    assert manifest.rows_of(np.array(["c", "a"])).tolist() == [2, 0]


def test_the_fingerprint_is_of_the_data_and_not_of_its_order() -> None:
    assert built(ROWS).fingerprint == built(ROWS[::-1]).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        built([("d", *ROWS[0][1:]), *ROWS[1:]]),
        built([("b", "val", 1, "beef"), *ROWS[1:]]),
        built([("b", "train", 0, "beef"), *ROWS[1:]]),
        built([("b", "train", 1, "dead"), *ROWS[1:]]),
        built(ROWS[1:]),
        built(ROWS, classes=("yes", "no")),
    ],
    ids=["id", "split", "label", "pixels", "fewer", "class order"],
)
def test_the_fingerprint_changes_with(other: Manifest) -> None:
    assert other.fingerprint != built(ROWS).fingerprint


def test_mean_and_deviation_of_black_and_white_are_a_half() -> None:
    levels = count_levels(np.array([[[[0], [255]]]], dtype=np.uint8))

    assert normalisation(levels) == ((0.5,), (0.5,))


def test_a_constant_channel_can_be_divided_by_its_deviation() -> None:
    levels = count_levels(np.full((2, 3, 3, 1), 51, dtype=np.uint8))

    mean, std = normalisation(levels)
    assert mean == pytest.approx((0.2,))
    assert std == (1.0,)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_mean_and_deviation_equal_numpys(seed: int, channels: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (3, 4, 5, channels), dtype=np.uint8)

    mean, std = normalisation(count_levels(images))

    pixels = images.reshape(-1, channels) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), atol=1e-12)


def test_a_hash_is_of_pixels_and_shape_and_not_of_memory_layout() -> None:
    image: npt.NDArray[np.uint8] = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    strided = np.repeat(image, 2, axis=1)[:, ::2]

    assert hash_image(strided) == hash_image(image)
    assert hash_image(image.reshape(4, 2, 3)) != hash_image(image)
    assert hash_image(image ^ np.uint8(1)) != hash_image(image)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    manifest = built([*ROWS, ("train/Zoë's 猫.png", "val", 1, "babe")])
    write_manifest(tmp_path, manifest)

    again = read_manifest(tmp_path)

    for name in ("ids", "splits", "labels", "image_hashes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(manifest, name))
    for name in ("classes", "image_shape", "mean", "std", "fingerprint", "skipped"):
        assert getattr(again, name) == getattr(manifest, name)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("manifest.parquet", "x", "altered after it was written"),
        ("dataset.json", "{", "not a packed dataset"),
        ("dataset.json", '{"format": 2}', "not of format 1"),
        ("dataset.json", '{"format": 1}', "not a whole packed dataset"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, file: str, text: str, message: str) -> None:
    write_manifest(tmp_path, built(ROWS))
    (tmp_path / file).write_text(text)

    with pytest.raises(DatasetError, match=message):
        read_manifest(tmp_path)


def test_the_description_is_for_people_too(tmp_path: Path) -> None:
    write_manifest(tmp_path, built(ROWS))

    description = json.loads((tmp_path / "dataset.json").read_text())
    assert description["classes"] == ["no", "yes"]
    assert description["skipped"] == {"empty file": 2}


def voted(votes: list[tuple[int, ...]]) -> Manifest:
    builder = ManifestBuilder(("no", "yes"), votes=votes)
    for name, split, label, image_hash in ROWS[:2]:
        builder.ids.append(name)
        builder.splits.append(split)
        builder.labels.append(label)
        builder.hashes.append(image_hash)
    levels = count_levels(np.array([[[[0], [255]]]], dtype=np.uint8))
    return builder.build((1, 2, 1), levels, {})


def test_votes_are_put_in_order_stored_and_part_of_the_fingerprint(tmp_path: Path) -> None:
    manifest = voted([(1, 9), (8, 2)])
    write_manifest(tmp_path, manifest)
    again = read_manifest(tmp_path)

    assert manifest.votes is not None
    assert again.votes is not None
    assert manifest.votes.tolist() == again.votes.tolist() == [[8, 2], [1, 9]]  # "a", then "b"
    assert again.fingerprint == manifest.fingerprint
    others = [voted([(2, 8), (8, 2)]), voted([])]
    assert len({manifest.fingerprint, *(other.fingerprint for other in others)}) == 3
