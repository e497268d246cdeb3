"""What a round's learner answered on the test set, and the pictures of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator import figures
from al_orchestrator.files import is_intact
from al_orchestrator.run_dir import RunDir
from trainers.metrics import Calibration, calibration_of


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
