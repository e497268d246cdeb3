"""What a round has its trainer do: fit on the labelled set, and predict for the pool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.controller.workers import Workers
from al_orchestrator.errors import InvariantBroken, LedgerError
from al_orchestrator.files import digest_of_file
from al_orchestrator.rounds import Round
from al_orchestrator.seeds import derive_seed
from al_orchestrator.splits import examples
from strategies import Candidates, Head, QueryStrategy, Signal
from trainers.base import Examples, Output, Predictions, PredictTask, TrainReport, TrainTask

logger = logging.getLogger(__name__)


class Learner:
    """The trainer of a run, asked through workers."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._workers = Workers(rooms)

    def train(self, current: Round) -> dict[str, Any]:
        """Fits on what `current` has labelled; returns what goes on record, as plain JSON."""
        fit = self._rooms.config.trainer.fit
        report = self._workers.run(current.number, "train", fit, self._train_task(current))
        result = self._train_result(report)
        self._check_start(current, result)
        return result

    def candidates(
        self, current: Round, strategy: QueryStrategy, ids: npt.NDArray[np.str_]
    ) -> Candidates:
        """The pool with exactly the signals the strategy declares."""
        labelled_ids, labels = self._rooms.pool.labelled(current.number)
        needs = strategy.needs
        arrays: dict[str, Any] = {"labelled_ids": labelled_ids}
        if "labelled_labels" in needs:
            arrays["labelled_labels"] = labels
        files = self._scored(current, ids, labelled_ids) if _outputs(needs) else {}
        for output, path in files.items():
            if output == "head":
                with np.load(path) as head:
                    arrays["head"] = Head(weight=head["weight"], bias=head["bias"])
                continue
            array = np.load(path, mmap_mode="r")
            if output in needs:
                arrays[output] = array[: len(ids)]
            if output == "embeddings" and "labelled_embeddings" in needs:
                arrays["labelled_embeddings"] = array[len(ids) :]
        return Candidates(ids=ids, **arrays)

    def _scored(
        self, current: Round, ids: npt.NDArray[np.str_], labelled_ids: npt.NDArray[np.str_]
    ) -> dict[Output, Path]:
        """Files of predictions for the pool and, after it, the labelled set; once a round."""
        number = current.number
        recorded = self._rooms.pool.stage(number, "score")
        if recorded is not None:
            files = {n: self._rooms.run.folder / path for n, path in recorded["files"].items()}
            if all(_is_intact(path, recorded["digests"][n]) for n, path in files.items()):
                return files
        started = time.monotonic()
        rows = self._rooms.data.manifest.rows_of(np.concatenate([ids, labelled_ids]))
        predictions: Predictions = self._workers.run(
            number, "score", self._rooms.config.trainer.predict, self._predict_task(number, rows)
        )
        result = {
            "files": {n: self._rooms.run.relative(p) for n, p in predictions.files.items()},
            "digests": {n: digest_of_file(p) for n, p in predictions.files.items()},
            "seconds": dict(predictions.seconds),
        }
        with self._rooms.pool.commit() as entry:
            entry.end_attempt(number, "score", "recorded")
            entry.forget_stage(number, "score")
            entry.stage(number, "score", result, time.monotonic() - started)
        seconds = time.monotonic() - started
        logger.info("round %d: scored %s (%.1f s)", number, f"{len(rows):,}", seconds)
        return dict(predictions.files)

    def _checkpoint(self, trained: Mapping[str, Any]) -> Path:
        """The checkpoint a round recorded, if its file is still what was recorded."""
        path: Path = self._rooms.run.folder / trained["checkpoint"]
        if not _is_intact(path, trained["checkpoint_file"]):
            raise LedgerError(
                f"{path} is missing or changed since it was recorded; restore it, or start the "
                "experiment anew under another name"
            )
        return path

    def _predict_task(
        self, number: int, rows: npt.NDArray[np.int64]
    ) -> Callable[[Path, Path | None], PredictTask]:
        trained = self._rooms.pool.stage(number, "train")
        assert trained is not None  # the round is TRAINED

        def task(out_dir: Path, _: Path | None) -> PredictTask:
            return PredictTask(
                images=self._rooms.images,
                num_classes=len(self._rooms.data.manifest.classes),
                rows=rows,
                outputs=_outputs(self._rooms.config.strategy.needs),
                checkpoint=self._checkpoint(trained),
                seed=derive_seed(self._rooms.config.seed, number, "predict"),
                out_dir=out_dir,
                cache_dir=self._rooms.encoders,
                device=self._rooms.executor().device,
            )

        return task

    def _train_task(self, current: Round) -> Callable[[Path, Path | None], TrainTask]:
        number, manifest = current.number, self._rooms.data.manifest
        ids, labels = self._rooms.pool.labelled(number)
        last = self._rooms.pool.stage(number - 1, "train") if number else None

        def task(out_dir: Path, resume_from: Path | None) -> TrainTask:
            return TrainTask(
                images=self._rooms.images,
                num_classes=len(manifest.classes),
                labelled=Examples(rows=manifest.rows_of(ids), labels=labels),
                validation=examples(manifest, self._rooms.splits.validation),
                test=examples(manifest, self._rooms.splits.test),
                seed=derive_seed(self._rooms.config.seed, number, "train"),
                out_dir=out_dir,
                cache_dir=self._rooms.encoders,
                device=self._rooms.executor().device,
                previous=self._checkpoint(last) if last else None,
                resume_from=resume_from,
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
            "metrics": {name: float(value) for name, value in report.metrics.items()},
            "confusion": report.confusion.tolist(),
            "epochs": report.epochs,
            "steps": report.steps,
            "stop_reason": report.stop_reason,
            "seconds": dict(report.seconds),
            "notes": dict(report.notes),
        }

    def _check_start(self, current: Round, result: Mapping[str, Any]) -> None:
        """The weights a round started from are what the policy says."""
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


def _outputs(needs: frozenset[Signal]) -> frozenset[Output]:
    """What a trainer must predict so that a strategy has what it needs."""
    predicted: dict[Signal, Output] = {
        "log_probs": "log_probs",
        "embeddings": "embeddings",
        "labelled_embeddings": "embeddings",
        "mc_log_probs": "mc_log_probs",
        "head": "head",
    }
    return frozenset(predicted[need] for need in needs if need in predicted)


def _is_intact(path: Path, digest: str) -> bool:
    return path.exists() and digest_of_file(path) == digest
