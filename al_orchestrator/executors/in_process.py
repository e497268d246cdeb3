"""Work in this process: for tests, tiny runs, and where Ray's start is not worth its seconds."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from al_orchestrator.executors.base import Executor, Job
from al_orchestrator.executors.calls import Call, Outcome, carry_out, prepare_log
from al_orchestrator.executors.placement import place, this_machine
from al_orchestrator.executors.settings import Resources

T = TypeVar("T")


def handed_over(value: T) -> T:
    """A copy as another process would get it; arrays are read-only views, so nothing is copied.

    Raises:
        TypeError, pickle.PicklingError: It cannot leave this process.
    """
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    copy: T = pickle.loads(stream, buffers=[buffer.raw().toreadonly() for buffer in buffers])
    return copy


class FinishedJob(Job[T]):
    """A call that has already ended."""

    def __init__(self, outcome: Outcome[T]) -> None:
        self._outcome = outcome

    def result(self, timeout_s: float | None = None) -> T:
        del timeout_s  # There is nothing left to wait for.
        return self._outcome.unwrap()

    def cancel(self) -> None:
        return


class InProcessExecutor(Executor):
    """Runs each call here, to its end, inside `submit`; `workers` above one change nothing.

    Arguments and answers are handed over as on a cluster: through pickle, arrays read-only. So a
    call that would write into its arguments, or cannot be pickled, fails here already.
    """

    def __init__(self, resources: Resources) -> None:
        self._is_closed = False
        self._threads = resources.cpus_per_worker
        self._placement = place(resources.model_copy(update={"workers": 1}), [this_machine()])

    @property
    def device(self) -> str:
        return self._placement.device

    def describe(self) -> str:
        return f"in this process: {self._placement}"

    def submit(self, function: Callable[..., T], *args: Any, log: Path) -> Job[T]:
        if self._is_closed:
            raise RuntimeError("the executor is closed; open another with open_executor")
        call = Call(function, handed_over(args))
        return FinishedJob(
            carry_out(call, prepare_log(log), threads=self._threads, deliver=handed_over)
        )

    def close(self) -> None:
        self._is_closed = True
