"""What a round has its trainer predict, as the candidates a strategy is shown.

Scores are computed once a round, for everything a strategy of that round may be told of: the
samples unlabelled when the round began, then its labelled set, then the validation set. A batch
that is asked for in steps finds its own answers among the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator.controller.learner import recorded_checkpoint
from al_orchestrator.controller.pretraining import Pretraining
from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.controller.workers import Workers
from al_orchestrator.files import digest_of_file, is_intact
from al_orchestrator.pool import StageName
from al_orchestrator.rounds import Round
from al_orchestrator.seeds import derive_seed
from strategies import Candidates, Head, QueryStrategy, Validation
from trainers.base import Attack, Output, Predictions, PredictTask

logger = logging.getLogger(__name__)

_OF_LABELLED = frozenset({"labelled_log_probs", "labelled_embeddings"})

Ids = npt.NDArray[np.str_]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Roster:
    """Whom a round's scores are about, in the order of their rows."""

    pool: Ids  # unlabelled when the round began, ascending
    labelled: Ids  # the round's labelled set, ascending
    labels: Labels  # of the labelled set
    validation: Ids

    def part(self, array: Any, name: str) -> Any:
        """The rows of `array` that belong to a part."""
        start = 0
        for part in ("pool", "labelled", "validation"):
            stop = start + len(getattr(self, part))
            if part == name:
                return array[start:stop]
            start = stop
        raise KeyError(name)


class Scorer:
    """Gives a strategy the signals it declares, and computes no others."""

    def __init__(self, rooms: Rooms, workers: Workers, pretraining: Pretraining) -> None:
        self._rooms = rooms
        self._workers = workers
        self._pretraining = pretraining

    def candidates(self, current: Round, strategy: QueryStrategy) -> Candidates:
        """The pool as it stands now, with exactly the signals the strategy declares."""
        roster = self._roster(current.number)
        files = self._scored(current.number, strategy, roster)
        answered = {s.id: s.label for s in self._rooms.pool.acquired(current.number + 1)}
        return _Seen(roster, answered).candidates(strategy, self._load(strategy, files))

    def seed_candidates(self, strategy: QueryStrategy) -> Candidates:
        """The pool before there is a learner: its ids, and what the encoder makes of the images."""
        ids = self._rooms.splits.pool
        nobody = np.empty(0, ids.dtype)
        roster = Roster(ids, nobody, np.empty(0, np.int64), nobody)
        files: Mapping[Output, Path] = {}
        if outputs_of(strategy):
            files = self._predict(0, "embed", strategy, roster, None).files
        return _Seen(roster, {}).candidates(strategy, self._load(strategy, files))

    def embedding_key(self, number: int, strategy: QueryStrategy) -> str | None:
        """A name for the map from images to embeddings in round `number`, if it outlives it."""
        recorded = self._rooms.pool.stage(number, "score") or {}
        key: str | None = recorded.get("keys", {}).get(_embedding_output(strategy))
        return key

    def _roster(self, number: int) -> Roster:
        asked = self._rooms.pool.asked_ids(up_to=number)
        pool = self._rooms.splits.pool
        free = np.array([i not in asked for i in pool.tolist()], np.bool_)
        labelled, labels = self._rooms.pool.labelled(number)
        return Roster(pool[free], labelled, labels, self._rooms.splits.validation)

    def _scored(
        self, number: int, strategy: QueryStrategy, roster: Roster
    ) -> Mapping[Output, Path]:
        """Files of predictions for everybody on the roster; made once a round."""
        if not outputs_of(strategy):
            return {}
        recorded = self._rooms.pool.stage(number, "score")
        if recorded is not None:
            files = {n: self._rooms.run.folder / path for n, path in recorded["files"].items()}
            if all(is_intact(path, recorded["digests"][n]) for n, path in files.items()):
                return files
        started = time.monotonic()
        trained = self._rooms.pool.stage(number, "train")
        assert trained is not None  # the round is TRAINED
        predictions = self._predict(number, "score", strategy, roster, trained)
        result = {
            "files": {n: self._rooms.run.relative(p) for n, p in predictions.files.items()},
            "digests": {n: digest_of_file(p) for n, p in predictions.files.items()},
            "keys": dict(predictions.keys),
            "seconds": dict(predictions.seconds),
        }
        seconds = time.monotonic() - started
        with self._rooms.pool.commit() as entry:
            entry.end_attempt(number, "score", "recorded")
            entry.forget_stage(number, "score")
            entry.stage(number, "score", result, seconds)
        logger.info("round %d: scored %s (%.1f s)", number, f"{len(roster.pool):,}", seconds)
        return predictions.files

    def _predict(
        self,
        number: int,
        stage: StageName,
        strategy: QueryStrategy,
        roster: Roster,
        trained: Mapping[str, Any] | None,
    ) -> Predictions:
        predictions: Predictions = self._workers.run(
            number,
            stage,
            self._pretraining.trainer().predict,
            self._task(number, strategy, roster, trained),
        )
        return predictions

    def _task(
        self,
        number: int,
        strategy: QueryStrategy,
        roster: Roster,
        trained: Mapping[str, Any] | None,
    ) -> Callable[[Path, Path | None], PredictTask]:
        rows_of = self._rooms.data.manifest.rows_of
        others = [roster.labelled] if strategy.needs & _OF_LABELLED else []
        others += [roster.validation] if "validation" in strategy.needs else []
        flips = strategy.computation.flips

        def task(out_dir: Path, _: Path | None) -> PredictTask:
            return PredictTask(
                images=self._rooms.images,
                num_classes=len(self._rooms.data.manifest.classes),
                rows=rows_of(roster.pool),
                others=rows_of(np.concatenate(others)) if others else np.empty(0, np.int64),
                outputs=outputs_of(strategy),
                attack=None if flips is None else Attack(**asdict(flips)),
                checkpoint=None if trained is None else recorded_checkpoint(self._rooms, trained),
                seed=derive_seed(self._rooms.config.seed, number, "predict"),
                out_dir=out_dir,
                cache_dir=self._rooms.encoders,
                device=self._rooms.executor().device,
                augmented=trained is not None
                and self._rooms.config.scoring.transform == "training",
            )

        return task

    def _load(self, strategy: QueryStrategy, files: Mapping[Output, Path]) -> dict[str, Any]:
        """Arrays and the head by the name of their signal; validation's labels among them."""
        arrays: dict[str, Any] = {}
        for output, path in files.items():
            if output == "head":
                with np.load(path) as head:
                    arrays["head"] = Head(weight=head["weight"], bias=head["bias"])
            else:
                signal = "embeddings" if output == _embedding_output(strategy) else output
                arrays[signal] = np.load(path, mmap_mode="r")
        if "validation" in strategy.needs:
            manifest = self._rooms.data.manifest
            rows = manifest.rows_of(self._rooms.splits.validation)
            arrays["validation_labels"] = manifest.labels[rows]
        return arrays


@dataclass(frozen=True, eq=False)
class _Seen:
    """A roster, and what has been answered of the batch that is being asked for."""

    roster: Roster
    answered: Mapping[str, int | None]  # of the pool's ids; None while a label is missing

    def candidates(self, strategy: QueryStrategy, arrays: Mapping[str, Any]) -> Candidates:
        free = np.array([i not in self.answered for i in self.roster.pool.tolist()], np.bool_)
        bought = np.flatnonzero(~free)
        given: dict[str, Any] = {}
        for need in strategy.needs:
            if need in {"log_probs", "embeddings", "mc_log_probs", "flip_distances"}:
                of_pool = self.roster.part(arrays[need], "pool")
                given[need] = of_pool[free] if len(bought) else of_pool
            elif need in _OF_LABELLED:
                given[need] = self._labelled(arrays[need.removeprefix("labelled_")], bought)
            elif need == "head":
                given[need] = arrays["head"]
            elif need == "validation":
                given[need] = self._validation(arrays)
        labels = [self.answered[i] for i in self.roster.pool[bought].tolist()]
        ids = np.concatenate([self.roster.labelled, self.roster.pool[bought]])
        if "labelled_labels" in strategy.needs:
            given["labelled_labels"] = np.concatenate([self.roster.labels, labels]).astype(np.int64)
        return Candidates(ids=self.roster.pool[free], labelled_ids=ids, **given)

    def _labelled(self, array: Any, bought: npt.NDArray[np.int64]) -> Any:
        before = self.roster.part(array, "labelled")
        return np.concatenate([before, array[bought]]) if len(bought) else before

    def _validation(self, arrays: Mapping[str, Any]) -> Validation:
        # Rows of the labelled set are there only if they were needed; validation comes last.
        count = len(self.roster.validation)
        return Validation(
            log_probs=_last(arrays["log_probs"], count),
            embeddings=_last(arrays["embeddings"], count),
            labels=arrays["validation_labels"],
        )


def _last(array: Any, count: int) -> Any:
    return array[len(array) - count :]


def _embedding_output(strategy: QueryStrategy) -> Output:
    return "encoder_embeddings" if strategy.computation.embeddings == "encoder" else "embeddings"


def outputs_of(strategy: QueryStrategy) -> frozenset[Output]:
    """What a trainer must predict so that a strategy has what it needs."""
    embeddings = _embedding_output(strategy)
    predicted: dict[str, tuple[Output, ...]] = {
        "log_probs": ("log_probs",),
        "labelled_log_probs": ("log_probs",),
        "embeddings": (embeddings,),
        "labelled_embeddings": (embeddings,),
        "mc_log_probs": ("mc_log_probs",),
        "flip_distances": ("flip_distances",),
        "head": ("head",),
        "validation": ("log_probs", embeddings),
    }
    return frozenset(out for need in strategy.needs for out in predicted.get(need, ()))
