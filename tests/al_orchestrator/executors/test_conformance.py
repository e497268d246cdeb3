"""What every executor promises, in this process and on Ray alike."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from al_orchestrator.errors import ConfigError, JobFailed
from al_orchestrator.executors import Executor
from strategies.base import StrategyError
from trainers.base import TrainingError

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaler:
    """Stands for a trainer: a value whose method is the call."""

    factor: float

    def scale(self, values: Doubles) -> Doubles:
        return values * self.factor


def speak() -> None:
    sys.stdout.write("said on standard output\n")
    sys.stderr.write("said on standard error\n")
    logging.getLogger("trainers").warning("said to a logger")


def raise_this(error: BaseException) -> None:
    raise error


def divide(a: int, b: int) -> float:
    return a / b


def lock() -> object:
    return threading.Lock()


def write_into(values: Doubles) -> None:
    values[0] = 1.0


def is_writeable(values: Doubles) -> bool:
    return values.flags.writeable


def threads() -> tuple[str | None, list[int]]:
    from threadpoolctl import threadpool_info

    return os.environ.get("OMP_NUM_THREADS"), [pool["num_threads"] for pool in threadpool_info()]


def torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def test_the_answer_is_what_the_function_returns(executor: Executor, log: Path) -> None:
    scaled = executor.submit(Scaler(2.0).scale, np.array([1.0, 2.5]), log=log).result()
    assert scaled.tolist() == [2.0, 5.0]


def test_an_answer_can_be_asked_for_twice(executor: Executor, log: Path) -> None:
    job = executor.submit(divide, 6, 3, log=log)
    assert (job.result(), job.result(timeout_s=0)) == (2.0, 2.0)


def test_what_the_call_prints_and_logs_is_in_the_log_and_not_on_the_terminal(
    executor: Executor, log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    executor.submit(speak, log=log).result()
    text = log.read_text()
    assert "said on standard output" in text
    assert "said on standard error" in text
    assert "WARNING trainers: said to a logger" in text
    assert capfd.readouterr() == ("", "")


def test_a_log_that_is_there_is_appended_to(executor: Executor, log: Path) -> None:
    executor.submit(speak, log=log).result()
    executor.submit(speak, log=log).result()
    assert log.read_text().count("said on standard output") == 2


def test_a_failure_says_what_where_and_shows_the_traceback(executor: Executor, log: Path) -> None:
    with pytest.raises(JobFailed) as caught:
        executor.submit(divide, 1, 0, log=log).result()
    failure = caught.value
    assert failure.what.startswith("divide failed on ")
    assert "(pid " in failure.what
    assert failure.what.endswith(": ZeroDivisionError: division by zero")
    assert "return a / b" in failure.remote_traceback
    assert failure.log == log
    assert "return a / b" in log.read_text()
    assert str(failure).endswith(f"log: {log}")


def test_after_a_failure_the_next_call_works(executor: Executor, log: Path) -> None:
    with pytest.raises(JobFailed):
        executor.submit(divide, 1, 0, log=log).result()
    assert executor.submit(divide, 1, 4, log=log).result() == 0.25


def test_an_error_of_ours_comes_back_as_it_was_raised(executor: Executor, log: Path) -> None:
    raised = ConfigError("encoder 'x' is not there")
    with pytest.raises(ConfigError) as caught:
        executor.submit(raise_this, raised, log=log).result()
    assert type(caught.value) is ConfigError
    assert caught.value.args == ("encoder 'x' is not there",)
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("kind", [TrainingError, StrategyError])
def test_an_error_written_for_people_comes_without_its_traceback(
    executor: Executor, log: Path, kind: type[Exception]
) -> None:
    with pytest.raises(JobFailed) as caught:
        executor.submit(raise_this, kind("the loss is nan; lower the rate"), log=log).result()
    assert caught.value.what.endswith(": the loss is nan; lower the rate")
    assert "Traceback" not in str(caught.value)
    assert "Traceback" in log.read_text()


def test_a_library_that_exits_does_not_end_the_controller(executor: Executor, log: Path) -> None:
    with pytest.raises(JobFailed, match="SystemExit: 3"):
        executor.submit(raise_this, SystemExit(3), log=log).result()


def test_an_answer_that_cannot_travel_is_a_failure_of_the_call(
    executor: Executor, log: Path
) -> None:
    with pytest.raises(JobFailed, match="lock"):
        executor.submit(lock, log=log).result()
    assert executor.submit(divide, 1, 1, log=log).result() == 1.0


def test_an_argument_that_cannot_travel_is_refused_at_once(executor: Executor, log: Path) -> None:
    with pytest.raises((TypeError, pickle.PicklingError)):
        executor.submit(repr, threading.Lock(), log=log)


@pytest.mark.parametrize("size", [3, 3_000_000], ids=["small", "24 MB"])
def test_arrays_travel_both_ways_and_are_read_only(
    executor: Executor, log: Path, size: int
) -> None:
    values = np.arange(size, dtype=np.float64)
    assert not executor.submit(is_writeable, values, log=log).result()
    scaled = executor.submit(Scaler(3.0).scale, values, log=log).result()
    assert np.array_equal(scaled, 3.0 * values)
    assert not scaled.flags.writeable
    assert values.flags.writeable


def test_a_call_that_writes_into_its_arguments_fails(executor: Executor, log: Path) -> None:
    values = np.zeros(2)
    with pytest.raises(JobFailed, match="read-only"):
        executor.submit(write_into, values, log=log).result()
    assert values.tolist() == [0.0, 0.0]


def test_a_worker_of_two_cpus_uses_two_threads(executor: Executor, log: Path) -> None:
    variable, pools = executor.submit(threads, log=log).result()
    assert variable == "2"
    assert set(pools) <= {2}


@pytest.mark.torch
def test_torch_uses_as_many_threads_as_the_worker_has_cpus(executor: Executor, log: Path) -> None:
    assert executor.submit(torch_threads, log=log).result() == 2


def test_without_gpus_the_device_is_the_cpu(executor: Executor) -> None:
    assert executor.device == "cpu"
    assert "1 worker with 2 CPUs, device cpu" in executor.describe()


def test_cancelling_what_has_ended_changes_nothing(executor: Executor, log: Path) -> None:
    job = executor.submit(divide, 6, 3, log=log)
    job.result()
    job.cancel()
    assert job.result() == 2.0
