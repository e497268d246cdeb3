"""The contract of an executor: the same call in this process and on a cluster.

``executor.submit(trainer.fit, task, log=path).result()`` runs a picklable function where the
resources are. Workers keep no state that matters: any may die at any time, and one thought dead
may still be writing into its own attempt's folder. An executor never tries again by itself; the
controller counts attempts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Job(ABC, Generic[T]):
    """A call under way."""

    @abstractmethod
    def result(self, timeout_s: float | None = None) -> T:
        """Waits for the answer.

        Raises:
            JobFailed: The function raised; with the remote traceback and the log's path.
            WorkerLost: The worker died.
            TimeoutError: There is no answer yet; the call goes on.
            AloError: Of the function itself, as it was raised.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stops the call, by killing its worker if need be. Never raises."""


class Executor(ABC):
    """Where functions run. Opened once a run; workers stay warm between calls."""

    @property
    @abstractmethod
    def device(self) -> str:
        """What a task should name: "cuda" where a GPU was asked for and is there, else "cpu"."""

    @abstractmethod
    def describe(self) -> str:
        """One line for people: where work runs and with what, and why not on a GPU if not."""

    @abstractmethod
    def submit(self, function: Callable[..., T], *args: Any, log: Path) -> Job[T]:
        """Starts `function(*args)` on a worker whose output goes to `log`."""

    @abstractmethod
    def close(self) -> None:
        """Stops workers. Never raises."""


@dataclass(frozen=True)
class Ended:
    """One of many independent calls, over."""

    name: str
    why: str | None  # it failed, in words; None where it returned
