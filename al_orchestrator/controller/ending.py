"""Whether a run ends with a round: its budget, and the rules that may end it earlier.

What rules look at is derived from the ledger, up to the moment a round was trained; so whoever
asks again, after a kill or when the run is extended, is told the same. Predictions of a stop set
are made by the checkpoints of the rounds where a rule wants them and they are not on record yet.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from al_orchestrator.controller.learner import recorded_checkpoint
from al_orchestrator.controller.pretraining import Pretraining
from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.controller.workers import Workers
from al_orchestrator.rounds import Round
from al_orchestrator.seeds import derive_rng, derive_seed
from al_orchestrator.stopping import Evidence, StopSet, reason_to_stop
from trainers.base import Predictions, PredictTask, Rows

_OF_A_ROUND = ("train", "score", "select")  # an encoder that runs share is nobody's cost
_AFTER_TRAINING = frozenset({"score", "select"})  # of the round that is being decided
_OF_RULES: Final = "stop_set"


class Ending:
    """Knows when a run has asked for enough."""

    def __init__(self, rooms: Rooms, workers: Workers, pretraining: Pretraining) -> None:
        self._rooms = rooms
        self._workers = workers
        self._pretraining = pretraining
        self._budget = rooms.config.budget
        self._wanted = _models_by_set(rooms)

    def next_batch(self, current: Round) -> int:
        """Labels the budget has the round ask for; 0 if it is spent."""
        return self._budget.next_batch(
            number=current.number, spent=current.labelled, pool_size=len(self._rooms.splits.pool)
        )

    def reason(self, current: Round) -> str | None:
        """Why the run ends with this round, which is trained; None if it asks for more.

        Predicts what a rule needs and the ledger lacks.

        Raises:
            ConfigError: A rule reads a metric that is not measured.
        """
        if self.next_batch(current):
            for stop_set, models in self._wanted.items():
                for number in range(max(0, current.number + 1 - models), current.number + 1):
                    if str(stop_set) not in self._predicted(number):
                        self._predict(number, stop_set)
        return self.reason_on_record(current)

    def reason_on_record(self, current: Round) -> str | None:
        """The same by what is on record alone; rules that lack predictions do not hold."""
        spent = self._budget.end(
            number=current.number, spent=current.labelled, pool_size=len(self._rooms.splits.pool)
        )
        if spent is not None or not self._rooms.config.stop:
            return spent
        return reason_to_stop(self._rooms.config.stop, self._evidence(current))

    def recorded(self) -> str:
        """Why the run ended the last time it did."""
        ends = [e.detail.get("why", "") for e in self._rooms.pool.events() if e.kind == "finished"]
        return str(ends[-1]) if ends else ""

    def _evidence(self, current: Round) -> Evidence:
        number = current.number
        rounds = [each for each in self._rooms.pool.rounds() if each.number <= number]
        seed_set = self._rooms.pool.stage(0, "seed_set") or {}
        looked_at = int(seed_set.get("notes", {}).get("labels_looked_at", 0))
        return Evidence(
            metrics=[each.metrics for each in rounds],
            labels=current.labelled + max(0, looked_at - self._budget.initial),
            validation=len(self._rooms.splits.validation),
            seconds=sum(
                each.seconds.get(stage, 0.0)
                for each in rounds
                for stage in _OF_A_ROUND
                if not (each.number == number and stage in _AFTER_TRAINING)
            ),
            next_batch=self.next_batch(current),
            predicted={
                stop_set: self._on_record(number, stop_set, models)
                for stop_set, models in self._wanted.items()
            },
        )

    def _on_record(self, number: int, stop_set: StopSet, models: int) -> list[Rows]:
        """What the last models gave the stop set, back to the first round that lacks it."""
        found: list[Rows] = []
        for of in range(number, max(-1, number - models), -1):
            classes = self._predicted(of).get(str(stop_set))
            if classes is None:
                break
            found.append(np.array(classes, dtype=np.int64))
        return found[::-1]

    def _predicted(self, number: int) -> Mapping[str, list[int]]:
        """Classes that the model of a round gave each stop set, by the name of the set."""
        recorded = self._rooms.pool.stage(number, _OF_RULES) or {"classes": {}}
        classes: Mapping[str, list[int]] = recorded["classes"]
        return classes

    def _predict(self, number: int, stop_set: StopSet) -> None:
        started = time.monotonic()
        trained = self._rooms.pool.stage(number, "train")
        assert trained is not None  # the round is trained
        predict = self._pretraining.trainer().predict
        predictions: Predictions = self._workers.run(
            number, _OF_RULES, predict, lambda out, _: self._task(number, stop_set, trained, out)
        )
        classes = np.load(predictions.files["log_probs"]).argmax(axis=1)
        result = {"classes": {**self._predicted(number), str(stop_set): classes.tolist()}}
        with self._rooms.pool.commit() as entry:
            entry.end_attempt(number, _OF_RULES, "recorded")
            entry.forget_stage(number, _OF_RULES)
            entry.stage(number, _OF_RULES, result, time.monotonic() - started)
        for path in predictions.files.values():  # the round may be closed, and tidied, already
            path.unlink()

    def _task(
        self, number: int, stop_set: StopSet, trained: Mapping[str, Any], out_dir: Path
    ) -> PredictTask:
        return PredictTask(
            images=self._rooms.images,
            num_classes=len(self._rooms.data.manifest.classes),
            rows=self._rows(stop_set),
            outputs=frozenset({"log_probs"}),
            checkpoint=recorded_checkpoint(self._rooms, trained),
            seed=derive_seed(self._rooms.config.seed, number, "predict"),
            out_dir=out_dir,
            cache_dir=self._rooms.encoders,
            device=self._rooms.executor().device,
        )

    def _rows(self, stop_set: StopSet) -> Rows:
        """The same images in every round."""
        splits = self._rooms.splits
        ids = splits.pool if stop_set.of == "pool" else splits.validation
        drawn = derive_rng(self._rooms.config.seed, 0, "stop_set").permutation(len(ids))
        rows: Rows = self._rooms.data.manifest.rows_of(np.sort(ids[drawn[: stop_set.size]]))
        return rows


def _models_by_set(rooms: Rooms) -> dict[StopSet, int]:
    """The stop sets the rules compare, and of how many models in a row."""
    wanted: dict[StopSet, int] = {}
    for rule in rooms.config.stop:
        for part in rule.parts():
            if part.compares is not None:
                stop_set, models = part.compares
                wanted[stop_set] = max(models, wanted.get(stop_set, 0))
    return wanted
