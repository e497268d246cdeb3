"""What a round's learner answered on the test set, and the pictures of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator import figures
from al_orchestrator.datasets.base import Manifest, PackedDataset
from al_orchestrator.files import is_intact, write_text
from al_orchestrator.rounds import Round
from al_orchestrator.run_dir import RunDir
from trainers.metrics import Calibration, calibration_of

MOST_ERRORS = 36


@dataclass(frozen=True, eq=False)
class Answers:
    """One row an image of the test set, as asked after the last epoch of a round."""

    rows: npt.NDArray[np.int64]  # (T,) of the packed dataset
    labels: npt.NDArray[np.int64]  # (T,)
    log_probs: npt.NDArray[np.float32]  # (T, C)


def answers_of(run: RunDir, trained: Mapping[str, Any]) -> Answers | None:
    """What a round's training left; None where it left nothing, or the file is lost or changed.

    Args:
        run: The run.
        trained: What its ledger has of the round's training.
    """
    if "test_predictions" not in trained:
        return None
    path = run.folder / trained["test_predictions"]
    if not is_intact(path, trained["test_predictions_file"]):
        return None
    with np.load(path) as found:
        return Answers(found["rows"], found["labels"], found["log_probs"])


def draw_reliability(answers: Answers, path: Path) -> Calibration:
    """Writes the reliability diagram; returns what it shows."""
    seen = calibration_of(answers.log_probs, answers.labels)
    figures.reliability_diagram(seen.counts, seen.confidence, seen.accuracy, path, error=seen.error)
    return seen


def bins_of(seen: Calibration) -> list[dict[str, float]]:
    """The bins that are not empty, from the least sure to the surest."""
    edges = np.linspace(0, 1, len(seen.counts) + 1)
    return [
        {
            "above": float(edges[number]),
            "to": float(edges[number + 1]),
            "images": int(seen.counts[number]),
            "confidence": float(seen.confidence[number]),
            "accuracy": float(seen.accuracy[number]),
        }
        for number in np.flatnonzero(seen.counts).tolist()
    ]


@dataclass(frozen=True)
class ConfidentError:
    """An image of the test set whose class the learner is sure of, and wrong about."""

    id: str
    row: int  # of the packed dataset
    label: str
    predicted: str
    confidence: float  # probability of the predicted class


def confident_errors(
    answers: Answers, manifest: Manifest, most: int = MOST_ERRORS
) -> list[ConfidentError]:
    """The errors with the highest confidence, surest first and by id among equals."""
    predicted = answers.log_probs.argmax(axis=1)
    confidence = np.exp(answers.log_probs.max(axis=1).astype(np.float64))
    wrong = np.flatnonzero(predicted != answers.labels)
    # Rows ascend with ids.
    surest = wrong[np.lexsort((answers.rows[wrong], -confidence[wrong]))][:most]
    return [
        ConfidentError(
            id=str(manifest.ids[answers.rows[at]]),
            row=int(answers.rows[at]),
            label=manifest.classes[answers.labels[at]],
            predicted=manifest.classes[predicted[at]],
            confidence=float(confidence[at]),
        )
        for at in surest.tolist()
    ]


def draw_errors(errors: Sequence[ConfidentError], data: PackedDataset, path: Path) -> None:
    """Writes the images of one error and more, each with what it is and what it was taken for."""
    images = np.load(data.images, mmap_mode="r")
    captions = [f"{each.label}\n{each.predicted} {each.confidence:.3f}" for each in errors]
    figures.contact_sheet(images[[each.row for each in errors]], captions, path)


def write_errors(errors: Sequence[ConfidentError], path: Path) -> None:
    """Writes a `.csv` file with a row an error: id, label, predicted, confidence."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "label", "predicted", "confidence"])
    table.writerows([e.id, e.label, e.predicted, f"{e.confidence:.6f}"] for e in errors)
    write_text(path, text.getvalue())


def curves_of(rounds: Sequence[Round], names: Mapping[str, str]) -> list[figures.Curve]:
    """Metrics of the test set over labels, for those that were measured.

    Args:
        rounds: One and more, ascending.
        names: Of the metrics, without `test/`, and what to call them.
    """
    labels = np.array([each.labelled for each in rounds], dtype=np.float64)
    return [
        figures.Curve(
            shown, labels, np.array([each.metrics.get(f"test/{key}", np.nan) for each in rounds])
        )
        for key, shown in names.items()
        if any(f"test/{key}" in each.metrics for each in rounds)
    ]


def recalls(classes: Sequence[str]) -> dict[str, str]:
    """The metric of each class's recall, and the class's name."""
    return {f"recall/{code}": name for code, name in enumerate(classes)}
