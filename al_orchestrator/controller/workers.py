"""Attempts at a stage of a round, each on a worker and in a folder of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.errors import JobFailed, WorkerLost
from al_orchestrator.executors.base import Job
from al_orchestrator.executors.together import submit_together
from al_orchestrator.pool import Outcome, StageName

logger = logging.getLogger(__name__)
T = TypeVar("T")

_POLL_S = 0.25


@dataclass(frozen=True)
class Place:
    """Where a stage's attempts lie, if not in its round."""

    folder: Callable[[int], Path]  # of this run's attempt
    earlier: Callable[[], list[Path]]  # of whoever tried before, the newest last
    can_resume: Callable[[Path], bool]


class Workers:
    """Runs stages on workers, and counts the attempts."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def run(
        self,
        number: int,
        stage: StageName,
        function: Callable[[Any], T],
        task_of: Callable[[Path, Path | None], object],
        place: Place | None = None,
        shared: Callable[[Any], Sequence[Any]] = lambda task: [task],
    ) -> T:
        """Runs a stage on a worker; a lost worker is replaced, and its work goes on elsewhere.

        `shared` makes of a task those of several workers that carry it out together.
        """
        place = place or self._in_round(number, stage)
        for left in range(self._rooms.config.retries, -1, -1):
            folder, earlier = self._start_attempt(number, stage, place)
            self._rooms.watcher.began(number, stage)
            try:
                tasks = shared(task_of(folder, earlier))
                job = submit_together(self._rooms.executor(), function, tasks, folder)
                return self._wait(job, folder)
            except WorkerLost as error:
                self._end_attempt(number, stage, error)
                if not left:
                    raise
                logger.warning("round %d: %s; %s is tried again", number, error.what, stage)
            except JobFailed as error:
                self._end_attempt(number, stage, error)
                raise
            finally:
                self._rooms.watcher.ended()
        raise AssertionError("the last attempt returned or raised")

    def _in_round(self, number: int, stage: StageName) -> Place:
        def folder(attempt: int) -> Path:
            return self._rooms.run.attempt(number, stage, attempt)

        def earlier() -> list[Path]:
            return [folder(attempt) for attempt in self._rooms.pool.attempts(number, stage)]

        return Place(folder, earlier, self._rooms.config.trainer.can_resume)

    def _start_attempt(
        self, number: int, stage: StageName, place: Place
    ) -> tuple[Path, Path | None]:
        before = place.earlier()
        attempts = self._rooms.pool.attempts(number, stage)
        attempt = attempts[-1] + 1 if attempts else 1
        folder = place.folder(attempt)
        with self._rooms.pool.commit() as entry:
            entry.start_attempt(number, stage, attempt)
        folder.mkdir(parents=True, exist_ok=True)
        return folder, next((f for f in reversed(before) if place.can_resume(f)), None)

    def _end_attempt(self, number: int, stage: StageName, error: JobFailed) -> None:
        outcome: Outcome = "lost" if isinstance(error, WorkerLost) else "failed"
        with self._rooms.pool.commit() as entry:
            entry.end_attempt(number, stage, outcome, str(error))

    def _wait(self, job: Job[T], folder: Path) -> T:
        try:
            while True:
                try:
                    return job.result(timeout_s=_POLL_S)
                except TimeoutError:
                    self._report_progress(folder / "metrics.jsonl")
        except BaseException:
            job.cancel()
            raise

    def _report_progress(self, path: Path) -> None:
        """Epochs done, from the curve the trainer appends to."""
        try:
            last = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        except (OSError, IndexError, ValueError):  # not there yet, or half a line
            return
        note = f"loss {last['loss']:.3f}"
        self._rooms.watcher.progressed(last["epoch"], last["total_epochs"], note)
