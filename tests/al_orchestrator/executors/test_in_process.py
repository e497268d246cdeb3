"""What is special about work in this process, and to all calls wherever they run."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from al_orchestrator.errors import AloError, ConfigError, JobFailed
from al_orchestrator.executors import Executor, RaySettings, Resources, open_executor
from al_orchestrator.executors.calls import Call


class StubbornError(AloError):
    """Its constructor asks for more than its `args` hold, so it cannot be unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def interrupt() -> None:
    raise KeyboardInterrupt


def raise_stubbornly() -> None:
    raise StubbornError("an error ", "of a plug-in")


def blas_threads() -> set[int]:
    from threadpoolctl import threadpool_info

    np.dot(np.eye(2), np.eye(2))
    return {pool["num_threads"] for pool in threadpool_info()}


@pytest.fixture
def here() -> Iterator[Executor]:
    executor = open_executor("in_process", RaySettings(), Resources(cpus_per_worker=1))
    yield executor
    executor.close()


def test_submitting_runs_the_call_to_its_end(here: Executor, log: Path) -> None:
    seen: list[int] = []
    here.submit(lambda: seen.append(1), log=log)
    assert seen == [1]


def test_control_c_is_not_a_failure_of_the_job(here: Executor, log: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        here.submit(interrupt, log=log)


def test_what_the_call_logs_still_reaches_the_terminal_s_handlers(
    here: Executor, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here.submit(logging.getLogger("trainers").warning, "the rate is high", log=log)
    assert caplog.messages == ["the rate is high"]
    assert "the rate is high" in log.read_text()


def test_after_the_call_threads_and_environment_are_as_before(
    here: Executor, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = blas_threads()
    assert here.submit(blas_threads, log=log).result() == {1}
    assert blas_threads() == before
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_several_workers_are_one_in_this_process() -> None:
    executor = open_executor(
        "in_process", RaySettings(), Resources(workers=1000, cpus_per_worker=1)
    )
    assert executor.describe().startswith("in this process: 1 worker with 1 CPU, ")


def test_cuda_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="device 'cuda'"):
        open_executor("in_process", RaySettings(), Resources(device="cuda"))


def test_a_closed_executor_takes_no_calls(here: Executor, log: Path) -> None:
    here.close()
    with pytest.raises(RuntimeError, match="closed"):
        here.submit(interrupt, log=log)


def test_an_error_that_cannot_be_pickled_comes_as_a_failed_job(here: Executor, log: Path) -> None:
    with pytest.raises(JobFailed, match="an error of a plug-in"):
        here.submit(raise_stubbornly, log=log).result()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_a_failed_job_that_names_the_log(here: Executor) -> None:
    with pytest.raises(JobFailed, match=r"cannot write its log .*No space left") as caught:
        here.submit(raise_stubbornly, log=Path("/dev/full")).result()
    assert caught.value.log == Path("/dev/full")


def test_a_call_is_named_after_its_function() -> None:
    assert Call(Path.read_text, ()).name == "Path.read_text"
    assert Call(functools.partial(blas_threads), ()).name == "blas_threads"


def test_the_room_loads_neither_ray_nor_torch() -> None:
    script = (
        "import sys, al_orchestrator.executors.in_process;"
        "assert not {'ray', 'torch'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
