"""Work on Ray, embedded in this process or on a cluster.

Ray's own restarts and retries are off: the controller counts attempts. Workers are actors that
stay warm from call to call; one that dies is replaced when the next call needs it.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray
import ray.exceptions
from ray import ObjectRef

from al_orchestrator.errors import ConfigError, JobFailed, WorkerLost
from al_orchestrator.executors.base import Executor, Job
from al_orchestrator.executors.calls import Call, Failure, Outcome, prepare_log
from al_orchestrator.executors.lost_workers import cause_of_death, last_words
from al_orchestrator.executors.placement import place
from al_orchestrator.executors.ray_connection import Connection, nodes
from al_orchestrator.executors.settings import RaySettings, Resources
from al_orchestrator.executors.worker import Worker

T = TypeVar("T")

logger = logging.getLogger(__name__)

_PATIENCE_S = 30.0  # before a worker that cannot start is complained of


class RayExecutor(Executor):
    """A pool of warm workers, started as they are needed.

    Everything happens in the caller's thread: calls beyond `workers` wait in line and are started
    while answers are waited for.
    """

    def __init__(self, settings: RaySettings, resources: Resources) -> None:
        self._connection = Connection(settings)
        try:
            self._placement = place(resources, nodes())
        except ConfigError:
            self._connection.close()
            raise
        self._worker_class = ray.remote(
            num_cpus=self._placement.cpus,
            num_gpus=self._placement.gpus,
            max_restarts=0,
            max_task_retries=0,
        )(Worker)
        self._is_closed = False
        self._idle: list[_WarmWorker] = []
        self._waiting: deque[_RayJob[Any]] = deque()
        self._running: dict[ObjectRef[Outcome[Any]], tuple[_RayJob[Any], _WarmWorker]] = {}

    @property
    def device(self) -> str:
        return self._placement.device

    def describe(self) -> str:
        return f"{self._connection}: {self._placement}"

    def submit(self, function: Callable[..., T], *args: Any, log: Path) -> Job[T]:
        if self._is_closed:  # Ray would start again of its own accord.
            raise RuntimeError("the executor is closed; open another with open_executor")
        call = Call(function, args)
        # Stored now, so that what cannot be pickled is refused here and not in somebody else's
        # `result`, and later changes of an argument do not matter.
        job: _RayJob[T] = _RayJob(self, call.name, ray.put(call), prepare_log(log))
        self._waiting.append(job)
        self._start_waiting()
        return job

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for job in (*self._waiting, *(job for job, _ in self._running.values())):
            job.cancel()
        for worker in self._idle:
            worker.kill()
        self._idle.clear()
        self._connection.close()

    def advance(self, timeout_s: float) -> None:
        """Waits a while for the end of a call, at most so long, and starts what waits in line."""
        self._start_waiting()
        patience = min(timeout_s, _PATIENCE_S)
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=patience)
        for answer in ended:
            job, worker = self._running[answer]
            if job.settle(answer, worker):
                self._idle.append(worker)
            else:
                worker.kill()
            del self._running[answer]
        if not ended and patience == _PATIENCE_S:
            self._complain_of_waiting()
        self._start_waiting()

    def withdraw(self, job: _RayJob[Any]) -> None:
        """Takes a call out of the line, or kills the worker it runs on."""
        if job in self._waiting:
            self._waiting.remove(job)
        for answer, (other, worker) in list(self._running.items()):
            if other is job:
                worker.kill()
                del self._running[answer]

    def _complain_of_waiting(self) -> None:
        """Says so where a worker cannot start because others hold what it needs."""
        unborn = [worker for _, worker in self._running.values() if not worker.has_started]
        if unborn:
            logger.warning(
                "%s: still waiting for room for %d of %s; others hold the rest",
                self._connection,
                len(unborn),
                self._placement,
            )

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < self._placement.workers:
            worker = self._idle.pop() if self._idle else self._start_worker()
            job = self._waiting.popleft()
            self._running[job.start_on(worker)] = job, worker

    def _start_worker(self) -> _WarmWorker:
        actor: Any = self._worker_class.remote(self._placement.cpus, self._placement.gpus)
        return _WarmWorker(actor, actor.where.remote())


@dataclass(frozen=True)
class _WarmWorker:
    actor: Any  # a handle of `Worker`; Ray's handles have no type
    location: ObjectRef[str]

    @property
    def has_started(self) -> bool:
        return bool(ray.wait([self.location], timeout=0)[0])

    def kill(self) -> None:
        ray.kill(self.actor)

    def __str__(self) -> str:
        try:
            return ray.get(self.location, timeout=0)
        except ray.exceptions.RayError:
            return "a worker that had not started"


class _RayJob(Job[T]):
    def __init__(
        self, executor: RayExecutor, name: str, call: ObjectRef[Call[T]], log: Path
    ) -> None:
        self._executor = executor
        self._name = name
        self._call = call
        self._log = log
        self._log_start = log.stat().st_size
        self._outcome: Outcome[T] | None = None

    def result(self, timeout_s: float | None = None) -> T:
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self._outcome is None:
            left = max(0.0, end - time.monotonic())
            self._executor.advance(left)
            if self._outcome is None and not left:
                raise TimeoutError(f"{self._name} has no answer after {timeout_s:g} s; it goes on")
        return self._outcome.unwrap()

    def cancel(self) -> None:
        if self._outcome is None:
            self._outcome = Failure(JobFailed(f"{self._name} was cancelled", log=self._log))
            self._executor.withdraw(self)

    def start_on(self, worker: _WarmWorker) -> ObjectRef[Outcome[T]]:
        answer: ObjectRef[Outcome[T]] = worker.actor.run.remote(self._call, self._log)
        return answer

    def settle(self, answer: ObjectRef[Outcome[T]], worker: _WarmWorker) -> bool:
        """Takes the answer; returns whether the worker is fit for another call."""
        try:
            self._outcome = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            # `Worker.run` does not raise: this is the answer itself that could not be sent.
            what = f"{self._name} failed on {worker}: its answer could not be sent"
            self._outcome = Failure(JobFailed(what, str(error), self._log))
        except ray.exceptions.RayError as error:
            self._outcome = Failure(self._lost(worker, error))
            return False
        return True

    def _lost(self, worker: _WarmWorker, error: ray.exceptions.RayError) -> JobFailed:
        if getattr(error, "actor_init_failed", False):
            return JobFailed(f"{self._name}: a worker could not start", str(error), self._log)
        what = f"{self._name}: lost {worker}, {cause_of_death(str(error))}"
        return WorkerLost(what, last_words(self._log, self._log_start), self._log)
