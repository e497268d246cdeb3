"""Where a round's learner looks, computed on a worker before the round closes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from al_orchestrator.config.reports import SaliencySheets
from al_orchestrator.controller.learner import recorded_checkpoint
from al_orchestrator.controller.pretraining import Pretraining
from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.controller.workers import Workers
from al_orchestrator.errors import JobFailed
from al_orchestrator.explanations import of_round, sample_of
from al_orchestrator.files import digest_of_file
from al_orchestrator.rounds import Round
from trainers.base import Predictions, PredictTask

logger = logging.getLogger(__name__)


class Explainer:
    """Puts maps of a sample on record, if `reports.saliency` asks for them."""

    def __init__(self, rooms: Rooms, workers: Workers, pretraining: Pretraining) -> None:
        self._rooms = rooms
        self._workers = workers
        self._pretraining = pretraining

    def explain(self, current: Round, *, is_last: bool) -> None:
        """Explains the learner of a round that is about to close; a failure is only told."""
        asked = self._rooms.config.reports.saliency
        if asked is None or (asked.rounds == "last" and not is_last):
            return
        settings = asked.model_dump(mode="json", exclude={"rounds"})
        if self._has(current.number, settings):
            return
        started = time.monotonic()
        try:
            record = self._computed(current.number, asked)
        except JobFailed as error:
            logger.warning("round %d has no saliency maps: %s", current.number, error)
            return
        with self._rooms.pool.commit() as entry:
            entry.end_attempt(current.number, "explain", "recorded")
            entry.forget_stage(current.number, "explain")
            seconds = time.monotonic() - started
            entry.stage(current.number, "explain", {**record, "settings": settings}, seconds)

    def _has(self, number: int, settings: Mapping[str, Any]) -> bool:
        recorded = self._rooms.pool.stage(number, "explain")
        if recorded is None or recorded["settings"] != settings:
            return False
        return of_round(self._rooms.run, recorded, self._rooms.data) is not None

    def _computed(self, number: int, asked: SaliencySheets) -> dict[str, Any]:
        manifest, seed = self._rooms.data.manifest, self._rooms.config.seed
        rows = sample_of(manifest, seed, split=asked.split, each=asked.each)
        trained = self._rooms.pool.stage(number, "train")
        assert trained is not None  # the round is about to close
        checkpoint = recorded_checkpoint(self._rooms, trained)

        def task(out_dir: Path, _: Path | None) -> PredictTask:
            return PredictTask(
                images=self._rooms.images,
                num_classes=len(manifest.classes),
                rows=rows,
                outputs=frozenset({"log_probs", "saliency"}),
                saliency=asked.how,
                checkpoint=checkpoint,
                seed=seed,  # as `alo saliency` has it, so that both draw the same
                out_dir=out_dir,
                cache_dir=self._rooms.encoders,
                device=self._rooms.executor().device,
            )

        predict = self._pretraining.trainer().predict
        found: Predictions = self._workers.run(number, "explain", predict, task)
        maps, log_probs = found.files["saliency"], found.files["log_probs"]
        return {
            "ids": manifest.ids[rows].tolist(),
            "maps": self._rooms.run.relative(maps),
            "maps_file": digest_of_file(maps),
            "log_probs": self._rooms.run.relative(log_probs),
            "log_probs_file": digest_of_file(log_probs),
        }
