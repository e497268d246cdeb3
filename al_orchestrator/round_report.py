"""What people look at of one round, rendered from the ledger into the round's report folder.

::

    selected.parquet       the batch this round asked for: id, rank, score, label
    batch_classes.json     how many of each class it held (and .png)
    confusion.png          of the test set, after the last epoch
    reliability.png        of the test set: confidence against accuracy
    contact_sheet.png      the batch's images
    round.json             checkpoint reference, metrics, timings, bins of the reliability diagram

    saliency/              where the learner looks, a sheet a class, if `reports.saliency` asks

Round 0's report has `seed_set.parquet` too, and that of the last round, which asks for nothing::

    confident_errors.csv   what it is surest of and wrong about: id, label, predicted, confidence
    confident_errors.png   these images of the test set
    recall.png             of each class of the test set, over all rounds

Everything is derived, so the folder may be removed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from al_orchestrator import explanations, figures
from al_orchestrator.answers import (
    Answers,
    answers_of,
    bins_of,
    confident_errors,
    curves_of,
    draw_errors,
    draw_reliability,
    recalls,
    write_errors,
)
from al_orchestrator.config import recorded_marks
from al_orchestrator.datasets.base import PackedDataset
from al_orchestrator.files import replacing, write_text
from al_orchestrator.pool import Acquired, Pool
from al_orchestrator.run_dir import RunDir


def render_round(run: RunDir, pool: Pool, data: PackedDataset, number: int) -> None:
    """Renders the report of a round, unless it is there already."""
    folder = run.report(number)
    if (folder / "round.json").exists():  # written last
        return
    folder.mkdir(parents=True, exist_ok=True)
    if number == 0:
        _write_samples(pool.acquired(0), data, folder / "seed_set.parquet")
    batch = pool.acquired(number + 1)
    if batch:
        _write_samples(batch, data, folder / "selected.parquet")
        _write_classes(batch, data, folder)
        _write_contact_sheet(batch, data, folder / "contact_sheet.png")
    trained = pool.stage(number, "train") or {}
    if "confusion" in trained:
        counts = np.array(trained["confusion"], dtype=np.int64)
        figures.confusion_matrix(counts, data.manifest.classes, folder / "confusion.png")
    answers = answers_of(run, trained)
    seen = None if answers is None else draw_reliability(answers, folder / "reliability.png")
    _draw_maps(run, pool, data, number)
    rounds = [each for each in pool.rounds() if each.number <= number]
    if answers is not None and not batch:
        _write_errors(answers, data, folder)
        mark = "; ".join(recorded_marks(pool.events()))
        curves = curves_of(rounds, recalls(data.manifest.classes))
        figures.learning_curves(curves, folder / "recall.png", metric="test recall", mark=mark)
    snapshot = rounds[-1]
    summary = {
        "round": number,
        "labelled": snapshot.labelled,
        "metrics": dict(snapshot.metrics),
        "seconds": dict(snapshot.seconds),
        "train": {name: value for name, value in trained.items() if name != "metrics"},
        "select": pool.stage(number, "select"),
        "reliability": None if seen is None else {"ece": seen.error, "bins": bins_of(seen)},
    }
    write_text(folder / "round.json", json.dumps(summary, indent=2, sort_keys=True) + "\n")


def _draw_maps(run: RunDir, pool: Pool, data: PackedDataset, number: int) -> None:
    recorded = pool.stage(number, "explain")
    explanation = None if recorded is None else explanations.of_round(run, recorded, data)
    if recorded is not None and explanation is not None:
        folder = run.report(number) / "saliency"
        explanations.draw(explanation, folder, recorded["settings"]["scale"])


def _write_errors(answers: Answers, data: PackedDataset, folder: Path) -> None:
    errors = confident_errors(answers, data.manifest)
    write_errors(errors, folder / "confident_errors.csv")
    if errors:
        draw_errors(errors, data, folder / "confident_errors.png")


def _write_samples(samples: list[Acquired], data: PackedDataset, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = data.manifest.classes
    table = pa.table(
        {
            "id": [s.id for s in samples],
            "rank": [s.rank for s in samples],
            "score": [s.score for s in samples],
            "label": [None if s.label is None else names[s.label] for s in samples],
            "source": [s.source for s in samples],
        }
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def _write_classes(batch: list[Acquired], data: PackedDataset, folder: Path) -> None:
    labels = [s.label for s in batch if s.label is not None]
    counts = np.bincount(labels, minlength=len(data.manifest.classes)).astype(np.int64)
    by_name = dict(zip(data.manifest.classes, counts.tolist(), strict=True))
    write_text(folder / "batch_classes.json", json.dumps(by_name, indent=2) + "\n")
    figures.class_histogram(counts, data.manifest.classes, folder / "batch_classes.png")


def _write_contact_sheet(batch: list[Acquired], data: PackedDataset, path: Path) -> None:
    names = data.manifest.classes
    images = np.load(data.images, mmap_mode="r")
    rows = data.manifest.rows_of(np.array([s.id for s in batch]))
    captions = ["" if s.label is None else names[s.label] for s in batch]
    figures.contact_sheet(images[rows], captions, path)
