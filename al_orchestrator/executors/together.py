"""Several calls that only make sense at the same time, as one job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from al_orchestrator.executors.base import Executor, Job

T = TypeVar("T")

_TURN_S = 0.05


class TogetherJob(Job[T]):
    """Answers with the first call's answer once all have answered; one that fails ends all."""

    def __init__(self, jobs: Sequence[Job[T]]) -> None:
        self._jobs = list(jobs)
        self._waiting = list(jobs)

    def result(self, timeout_s: float | None = None) -> T:
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self._waiting:
            try:
                # Not one after the other: whoever fails first leaves the rest waiting for it.
                self._waiting[0].result(timeout_s=min(_TURN_S, max(0.0, end - time.monotonic())))
                del self._waiting[0]
            except TimeoutError:
                if time.monotonic() >= end:
                    raise
                self._waiting.append(self._waiting.pop(0))
            except BaseException:
                self.cancel()
                raise
        return self._jobs[0].result()

    def cancel(self) -> None:
        for job in self._jobs:
            job.cancel()


def submit_together(
    executor: Executor, function: Callable[[Any], T], tasks: Sequence[Any], folder: Path
) -> Job[T]:
    """Starts `function(task)` for each task, on a worker each.

    Args:
        executor: With as many workers as there are tasks.
        function: Picklable.
        tasks: At least one.
        folder: Where the logs go: `worker.log`, and `worker-1.log` and on beside it.
    """
    logs = [folder / "worker.log", *(folder / f"worker-{n}.log" for n in range(1, len(tasks)))]
    jobs = [executor.submit(function, t, log=log) for t, log in zip(tasks, logs, strict=True)]
    return jobs[0] if len(jobs) == 1 else TogetherJob(jobs)
