"""What a round has its trainer fit, and what must hold of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from al_orchestrator.ancestry import encoder_of, origin
from al_orchestrator.controller.pretraining import Pretraining
from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.controller.workers import Workers
from al_orchestrator.errors import InvariantBroken, LedgerError
from al_orchestrator.files import digest_of_file, is_intact
from al_orchestrator.rounds import Round
from al_orchestrator.seeds import derive_seed
from al_orchestrator.splits import examples, labelled_examples
from trainers.base import TrainReport, TrainTask


class Learner:
    """The trainer of a run, asked through workers."""

    def __init__(self, rooms: Rooms, workers: Workers, pretraining: Pretraining) -> None:
        self._rooms = rooms
        self._workers = workers
        self._pretraining = pretraining

    def prepare(self) -> None:
        """Makes sure the encoder is there; its making is no part of a round's training time."""
        self._pretraining.trainer()

    def train(self, current: Round) -> dict[str, Any]:
        """Fits on what `current` has labelled; returns what goes on record, as plain JSON."""
        fit = self._pretraining.trainer().fit
        report = self._workers.run(current.number, "train", fit, self._train_task(current))
        result = self._train_result(report)
        self._check_start(current, result)
        return result

    def _train_task(self, current: Round) -> Callable[[Path, Path | None], TrainTask]:
        number, manifest = current.number, self._rooms.data.manifest
        ids, labels = self._rooms.pool.labelled(number)
        last = self._rooms.pool.stage(number - 1, "train") if number else None
        started = [e.detail for e in self._rooms.pool.events() if e.kind == "starts_from"]
        before = started[-1] if started else encoder_of(self._rooms.config)
        remembered = origin(manifest, np.asarray(ids), before)

        def task(out_dir: Path, resume_from: Path | None) -> TrainTask:
            return TrainTask(
                images=self._rooms.images,
                num_classes=len(manifest.classes),
                labelled=labelled_examples(manifest, ids, labels),
                validation=examples(manifest, self._rooms.splits.validation),
                test=examples(manifest, self._rooms.splits.test),
                seed=derive_seed(self._rooms.config.seed, number, "train"),
                out_dir=out_dir,
                cache_dir=self._rooms.encoders,
                device=self._rooms.executor().device,
                previous=recorded_checkpoint(self._rooms, last) if last else None,
                resume_from=resume_from,
                origin=remembered,
            )

        return task

    def _train_result(self, report: TrainReport) -> dict[str, Any]:
        bad = sorted(name for name, value in report.metrics.items() if not np.isfinite(value))
        if bad:
            raise InvariantBroken(f"the trainer reported metrics that are not finite: {bad}")
        return {
            "checkpoint": self._rooms.run.relative(report.checkpoint),
            "checkpoint_digest": report.checkpoint_digest,
            "checkpoint_file": digest_of_file(report.checkpoint),
            "initial_digest": report.initial_digest,
            "encoder_digest": report.encoder_digest,
            "metrics": {self._told(name): float(v) for name, v in report.metrics.items()},
            "confusion": report.confusion.tolist(),
            "epochs": report.epochs,
            "steps": report.steps,
            "stop_reason": report.stop_reason,
            "has_converged": report.has_converged,
            "seconds": dict(report.seconds),
            "notes": dict(report.notes),
            **self._test_predictions(report),
        }

    def _test_predictions(self, report: TrainReport) -> dict[str, str]:
        path = report.test_predictions
        if path is None:
            return {}
        return {
            "test_predictions": self._rooms.run.relative(path),
            "test_predictions_file": digest_of_file(path),
        }

    def _told(self, metric: str) -> str:
        """The name a metric is recorded by: what the test set chose is not called the best."""
        if self._rooms.config.validation.split == "test" and metric.startswith("best/"):
            return f"chosen_by_test/{metric.removeprefix('best/')}"
        return metric

    def _check_start(self, current: Round, result: Mapping[str, Any]) -> None:
        """The weights a round started from are what the policy says."""
        stored = self._pretraining.expected_digest()
        is_fresh = self._rooms.config.trainer.weights == "from_pretrained" or current.number == 0
        if stored is not None and is_fresh and result["encoder_digest"] != stored:
            raise InvariantBroken(
                f"round {current.number} should start from the pretrained encoder, and its "
                f"encoder_digest is {result['encoder_digest']}, not {stored}"
            )
        if current.number == 0:
            return
        policy, mine = self._rooms.config.trainer.weights, "encoder_digest"
        before = self._rooms.pool.stage(current.number - 1, "train") or {}
        expected = before.get("encoder_digest")
        if policy == "from_scratch":
            return
        if policy == "warm_start":
            mine, expected = "initial_digest", before.get("checkpoint_digest")
        if result[mine] != expected:
            raise InvariantBroken(
                f"round {current.number} should start {policy}, but its {mine} is {result[mine]}, "
                f"not {expected}"
            )


def recorded_checkpoint(rooms: Rooms, trained: Mapping[str, Any]) -> Path:
    """The checkpoint a round recorded.

    Raises:
        LedgerError: Its file is not what was recorded any more.
    """
    path: Path = rooms.run.folder / trained["checkpoint"]
    if not is_intact(path, trained["checkpoint_file"]):
        raise LedgerError(
            f"{path} is missing or changed since it was recorded; restore it, or start the "
            "experiment anew under another name"
        )
    return path
