"""A run as one HTML page that opens anywhere, offline: every picture is inside it."""

from __future__ import annotations

import base64
import importlib.metadata
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from al_orchestrator.answers import (
    Answers,
    answers_of,
    bins_of,
    confident_errors,
    curves_of,
    draw_errors,
    draw_reliability,
    recalls,
)
from al_orchestrator.config import dump_config
from al_orchestrator.datasets import PackedDataset, load
from al_orchestrator.errors import ConfigError
from al_orchestrator.figures import confusion_matrix, learning_curves
from al_orchestrator.pool import Pool
from al_orchestrator.reports.card import card_of
from al_orchestrator.reports.runs import status_of
from al_orchestrator.round_report import render_round
from al_orchestrator.rounds import Round, RoundState
from al_orchestrator.run_dir import RunDir, Workspace

if TYPE_CHECKING:
    from markupsafe import Markup

_SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")
_STAGES = ("train", "score", "select")


@dataclass(frozen=True)
class _Picture:
    alt: str
    src: str


def run_page(run: RunDir) -> str:
    """The page of a run, from its ledger and its packed dataset.

    Raises:
        ConfigError: No round has been measured yet.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    status = status_of(run)
    measured = [each for each in status.rounds if each.metrics]
    if not measured:
        raise ConfigError(f"run {run.name} has no measured round yet; let it go on first")
    data = load(Workspace(run.folder.parent).root / "datasets" / status.fingerprint)
    trained = [status.trained[each.number] for each in measured]
    with Pool(run.ledger, read_only=True) as pool:
        for each in measured:
            if each.state is RoundState.CLOSED:
                render_round(run, pool, data, each.number)
    classes = data.manifest.classes
    answers = answers_of(run, trained[-1])
    environment = Environment(
        loader=PackageLoader("al_orchestrator.reports"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("run.html").render(
        status=status,
        card=card_of(Workspace(run.folder.parent), [status]),
        marks=status.marks,
        curves=_curves(measured, classes, "; ".join(status.marks)),
        rounds=[_row(each) for each in measured],
        classes=classes,
        last=_last(trained[-1], classes),
        reliability=None if answers is None else _reliability(answers),
        errors=None if answers is None else _errors(answers, data),
        asked=[found for each in measured if (found := _asked(run, each)) is not None],
        config=dump_config(status.config),
        version=importlib.metadata.version("al-orchestrator"),
    )


def _curves(measured: Sequence[Round], classes: Sequence[str], mark: str) -> list[Markup]:
    """Accuracies, and recall of each class, over labels."""
    both = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
    return [
        _drawn(measured, both, "test", mark),
        _drawn(measured, recalls(classes), "test recall", mark),
    ]


def _drawn(measured: Sequence[Round], names: dict[str, str], title: str, mark: str) -> Markup:
    from markupsafe import Markup

    curves = curves_of(measured, names)
    if not curves:
        return Markup("")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "curve.svg"
        learning_curves(curves, path, metric=title, title="", mark=mark)
        drawing = path.read_text(encoding="utf-8")
    return Markup(drawing[drawing.index("<svg") :])


def _row(each: Round) -> dict[str, object]:
    values = [each.metrics.get(f"test/{name}") for name in _SHOWN]
    seconds = [each.seconds.get(stage) for stage in _STAGES]
    return {
        "labelled": each.labelled,
        "metrics": ["" if value is None else f"{value:.3f}" for value in values],
        "seconds": ["" if value is None else f"{value:.1f}" for value in seconds],
    }


def _last(trained: Mapping[str, Any], classes: Sequence[str]) -> dict[str, object] | None:
    if "confusion" not in trained:
        return None
    counts = np.array(trained["confusion"], dtype=np.int64)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        {"name": name, "shares": [f"{value:.0f}" for value in row]}
        for name, row in zip(classes, shares, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "confusion.png"
        confusion_matrix(counts, classes, picture)
        return {"picture": _inlined(picture), "shares": rows}


def _reliability(answers: Answers) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "reliability.png"
        seen = draw_reliability(answers, picture)
        return {"picture": _inlined(picture), "ece": f"{seen.error:.4f}", "bins": bins_of(seen)}


def _errors(answers: Answers, data: PackedDataset) -> dict[str, object] | None:
    found = confident_errors(answers, data.manifest)
    if not found:
        return None
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "errors.png"
        draw_errors(found, data, picture)
        return {"picture": _inlined(picture), "found": found}


def _asked(run: RunDir, each: Round) -> dict[str, object] | None:
    folder = run.report(each.number)
    pictures = {
        "classes of the batch": folder / "batch_classes.png",
        "images of the batch": folder / "contact_sheet.png",
    }
    found = [_Picture(alt, _inlined(path)) for alt, path in pictures.items() if path.exists()]
    if not found:
        return None
    return {"number": each.number, "size": _batch_size(folder), "pictures": found}


def _batch_size(folder: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(folder / "selected.parquet").num_rows)


def _inlined(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
