"""What is read out of a round's answers on the test set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_orchestrator.answers import (
    Answers,
    answers_of,
    bins_of,
    confident_errors,
    draw_errors,
    draw_reliability,
    write_errors,
)
from al_orchestrator.datasets.base import Manifest, PackedDataset
from al_orchestrator.files import digest_of_file
from al_orchestrator.run_dir import RunDir

# Six images of two classes; the test set is rows 1 to 5 in another order.
PROBS = np.array([[0.9, 0.1], [0.25, 0.75], [0.1, 0.9], [0.4, 0.6], [0.9, 0.1]])
ANSWERS = Answers(
    rows=np.array([5, 1, 3, 2, 4]),
    labels=np.array([1, 1, 0, 0, 1]),
    log_probs=np.log(PROBS).astype(np.float32),
)


@pytest.fixture
def data(tmp_path: Path) -> PackedDataset:
    ids = np.array(list("abcdef"))
    manifest = Manifest(
        ids=ids,
        splits=np.array(["train"] + ["test"] * 5),
        labels=np.array([0, 1, 0, 0, 1, 1]),
        image_hashes=ids,
        classes=("calm", "glad"),
        image_shape=(8, 8, 1),
        mean=(0.5,),
        std=(0.5,),
        fingerprint="f",
    )
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((8, 8, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    return PackedDataset(manifest, tmp_path)


def test_the_surest_errors_come_first_and_equals_by_id(data: PackedDataset) -> None:
    found = confident_errors(ANSWERS, data.manifest)
    assert [each.id for each in found] == ["d", "e", "f", "c"]
    assert [each.label for each in found] == ["calm", "glad", "glad", "calm"]
    assert [each.predicted for each in found] == ["glad", "calm", "calm", "glad"]
    assert [each.confidence for each in found] == pytest.approx([0.9, 0.9, 0.9, 0.6])
    assert [each.id for each in confident_errors(ANSWERS, data.manifest, most=2)] == ["d", "e"]


def test_a_learner_without_errors_has_none(data: PackedDataset) -> None:
    right = replace(ANSWERS, labels=PROBS.argmax(1))
    assert confident_errors(right, data.manifest) == []


def test_errors_are_a_table_and_a_sheet_of_their_own_images(
    data: PackedDataset, tmp_path: Path
) -> None:
    found = confident_errors(ANSWERS, data.manifest, most=2)
    write_errors(found, tmp_path / "errors.csv")
    assert (tmp_path / "errors.csv").read_text().splitlines() == [
        "id,label,predicted,confidence",
        "d,calm,glad,0.900000",
        "e,glad,calm,0.900000",
    ]
    draw_errors(found, data, tmp_path / "errors.png")
    with Image.open(tmp_path / "errors.png") as image:
        sheet = np.asarray(image)
    assert (sheet[8:104, 8:104] == 3).all()  # the image of "d", enlarged
    assert (sheet[8:104, 112:208] == 4).all()


def test_bins_without_images_are_left_out(tmp_path: Path) -> None:
    bins = bins_of(draw_reliability(ANSWERS, tmp_path / "r.png"))
    assert [each["images"] for each in bins] == [1, 1, 3]
    assert bins[-1]["confidence"] == pytest.approx(0.9)
    assert bins[-1]["accuracy"] == 0.0
    assert (tmp_path / "r.png").exists()


def test_answers_are_read_only_if_they_are_those_on_record(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    path = tmp_path / "left.npz"
    np.savez(path, rows=ANSWERS.rows, labels=ANSWERS.labels, log_probs=ANSWERS.log_probs)
    trained = {"test_predictions": "left.npz", "test_predictions_file": digest_of_file(path)}
    found = answers_of(run, trained)
    assert found is not None
    assert (found.log_probs == ANSWERS.log_probs).all()
    assert answers_of(run, {}) is None
    path.write_bytes(b"other")
    assert answers_of(run, trained) is None
