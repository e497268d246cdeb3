"""Drawn faces."""

import hashlib
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from al_orchestrator.datasets.base import Record, Split
from al_orchestrator.datasets.expressions import EXPRESSIONS, SHARES, Variety, sample_faces
from al_orchestrator.datasets.faces import DrawnFaces


def read(faces: DrawnFaces) -> list[Record]:
    return [record for record in faces.records() if isinstance(record, Record)]


def stack(records: list[Record], split: Split) -> tuple[npt.NDArray[np.float64], list[str]]:
    chosen = [record for record in records if record.split == split]
    pixels = np.stack([record.image.ravel() for record in chosen]) / 255
    return pixels, [record.label or "" for record in chosen]


def test_a_face_is_the_same_whatever_the_counts_are() -> None:
    few = read(DrawnFaces(image_size=16, num_train=7, num_val=3, num_test=7))
    many = {
        record.id: record
        for record in read(DrawnFaces(image_size=16, num_train=130, num_val=70, num_test=90))
    }

    for record in few:
        twin = many[record.id]
        assert (twin.split, twin.label) == (record.split, record.label)
        np.testing.assert_array_equal(twin.image, record.image)


def test_every_machine_draws_the_same_pixels() -> None:
    records = read(DrawnFaces(image_size=24, num_train=100, num_val=0, num_test=7))
    digest = hashlib.sha256(b"".join(record.image.tobytes() for record in records)).hexdigest()

    # If this changes on purpose, raise `faces._DRAWING`: packed copies would not be drawn anew.
    assert digest == "ca742d92b342ac2c06b277030e5e1ed0e058a7f9a2770f65b8c84e9901fe5ffa"


def test_the_first_seven_faces_of_each_split_show_each_class_once() -> None:
    records = read(DrawnFaces(image_size=16, num_train=7, num_val=7, num_test=7))

    for split in get_args(Split):
        assert [r.label for r in records if r.split == split] == list(EXPRESSIONS)


def test_another_seed_and_another_split_draw_other_faces() -> None:
    options = {"image_size": 16, "num_train": 7, "num_val": 7, "num_test": 7}
    first = read(DrawnFaces.model_validate(options))
    second = read(DrawnFaces.model_validate({**options, "seed": 1}))

    assert [record.id for record in first] == [record.id for record in second]
    images = [record.image.tobytes() for record in (*first, *second)]
    assert len(set(images)) == 2 * 3 * 7


def test_classes_come_as_often_as_in_fer2013_unless_balanced() -> None:
    items = np.arange(20_000)
    variety = Variety(identities=10, ambiguous=0.0, occluded=0.0, is_balanced=False)
    skewed = np.bincount(sample_faces(3, items, variety).labels) / len(items)
    variety = Variety(identities=10, ambiguous=0.0, occluded=0.0, is_balanced=True)
    level = np.bincount(sample_faces(3, items, variety).labels) / len(items)

    # Deviation of a share p of n draws: sqrt(p (1 - p) / n) < 0.0036.
    np.testing.assert_allclose(skewed, SHARES, atol=0.015)
    np.testing.assert_allclose(level, np.full(7, 1 / 7), atol=0.015)


def test_an_ambiguous_face_is_labelled_by_either_of_its_two_expressions() -> None:
    items = np.arange(7, 4007)
    pure = Variety(identities=10, ambiguous=0.0, occluded=0.0, is_balanced=True)
    mixed = Variety(identities=10, ambiguous=1.0, occluded=0.0, is_balanced=True)

    changed = sample_faces(3, items, pure).labels != sample_faces(3, items, mixed).labels

    # The weight of the other expression is uniform on 0.3..0.7, so half of the labels are its.
    assert abs(changed.mean() - 0.5) < 0.04


def test_a_person_looks_the_same_in_all_pictures_of_a_split() -> None:
    variety = Variety(identities=5, ambiguous=0.2, occluded=0.1, is_balanced=True)
    faces = sample_faces(3, np.arange(200), variety)

    assert len(np.unique(faces.person, axis=0)) == 5
    assert len(np.unique(faces.actions, axis=0)) == 200


def test_only_the_asked_share_of_faces_is_occluded() -> None:
    variety = Variety(identities=5, ambiguous=0.2, occluded=0.25, is_balanced=True)

    assert abs(sample_faces(3, np.arange(4000), variety).is_occluded.mean() - 0.25) < 0.04


@pytest.mark.parametrize("image_size", [16, 24, 48, 65])
def test_pictures_have_the_asked_size_and_use_the_grey_scale(image_size: int) -> None:
    records = read(DrawnFaces(image_size=image_size, num_train=30, num_val=0, num_test=7))
    images = np.stack([record.image for record in records])

    assert images.shape == (37, image_size, image_size, 1)
    assert images.min() < 30
    assert images.max() > 200
    assert images.std(axis=(1, 2, 3)).min() > 10


def test_a_linear_model_learns_the_expressions_well_but_not_wholly() -> None:
    records = read(DrawnFaces(image_size=24, num_train=1000, num_val=0, num_test=500))
    pixels, labels = stack(records, "train")
    test_pixels, test_labels = stack(records, "test")
    targets = np.array([[label == name for name in EXPRESSIONS] for label in labels], np.float64)
    # Ridge regression on one-hot targets, solved in closed form.
    centre = pixels.mean(axis=0)
    gram = (pixels - centre).T @ (pixels - centre) + 30 * np.eye(pixels.shape[1])
    weights = np.linalg.solve(gram, (pixels - centre).T @ targets)

    answers = ((test_pixels - centre) @ weights + targets.mean(axis=0)).argmax(axis=1)
    accuracy = np.mean(
        [EXPRESSIONS[code] == y for code, y in zip(answers, test_labels, strict=True)]
    )

    majority = max(np.mean([label == name for label in test_labels]) for name in EXPRESSIONS)
    assert majority < 0.3
    assert 0.55 < accuracy < 0.9


@pytest.mark.parametrize(
    "wrong", [{"num_train": 6}, {"num_test": 0}, {"image_size": 8}, {"ambiguous": 1.5}]
)
def test_faces_that_cannot_be_drawn_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DrawnFaces.model_validate(wrong)
