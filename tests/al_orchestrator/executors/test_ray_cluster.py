"""What only a cluster can do: lose workers, run calls side by side, and be joined."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import pytest

from al_orchestrator.errors import ConfigError, JobFailed, WorkerLost
from al_orchestrator.executors import Executor, RaySettings, Resources, open_executor

pytestmark = pytest.mark.ray


def own_pid() -> int:
    return os.getpid()


def kill_yourself() -> None:
    sys.stdout.write("epoch 1 of 3\n")
    os.kill(os.getpid(), 9)


def exit_at_once(code: int) -> None:
    os._exit(code)


def read_address_zero() -> None:
    ctypes.string_at(0)


def print_from_c() -> None:
    ctypes.CDLL(None).printf(b"said by a C library")  # no line end: libc might keep it
    os.system("echo said by a child process")


def wait_for_word(fifo: Path) -> str:
    """Ends when the other end of the pipe is written to."""
    return fifo.read_text()


def write_word(fifo: Path, word: str) -> None:
    fifo.write_text(word)


def interrupt_and_wait(pid: int, fifo: Path) -> str:
    os.kill(pid, signal.SIGINT)
    return fifo.read_text()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def is_running(pid: int) -> bool:
    """Also false of a process that has ended and that nobody has asked about."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_worker_stays_warm_between_calls(ray_executor: Executor, log: Path) -> None:
    first = ray_executor.submit(own_pid, log=log).result()
    assert ray_executor.submit(own_pid, log=log).result() == first
    assert first != os.getpid()


def test_a_killed_worker_is_lost_and_the_next_call_gets_another(
    ray_executor: Executor, log: Path
) -> None:
    pid = ray_executor.submit(own_pid, log=log).result()
    with pytest.raises(WorkerLost) as caught:
        ray_executor.submit(kill_yourself, log=log).result()
    lost = caught.value
    assert lost.what.startswith("kill_yourself: lost ")
    assert f"(pid {pid})" in lost.what
    assert "killed" in lost.what
    assert "last lines of its log:\nepoch 1 of 3" in str(lost)
    assert lost.log == log
    assert ray_executor.submit(own_pid, log=log).result() != pid


def test_a_worker_that_ends_itself_says_with_which_code(ray_executor: Executor, log: Path) -> None:
    ray_executor.submit(own_pid, log=log).result()
    with pytest.raises(WorkerLost, match=r"exit code 3|crashed, or was killed"):
        ray_executor.submit(exit_at_once, 3, log=log).result()


def test_a_crash_in_native_code_leaves_its_stack_in_the_log(
    ray_executor: Executor, log: Path
) -> None:
    with pytest.raises(WorkerLost, match="read_address_zero"):
        ray_executor.submit(read_address_zero, log=log).result()
    assert "Segmentation fault" in log.read_text()


def test_what_c_libraries_and_child_processes_print_is_in_the_log(
    ray_executor: Executor, log: Path
) -> None:
    ray_executor.submit(print_from_c, log=log).result()
    assert "said by a C library" in log.read_text()
    assert "said by a child process\n" in log.read_text()


def test_an_answer_that_is_late_is_a_timeout_and_the_call_goes_on(
    ray_executor: Executor, log: Path, fifo: Path
) -> None:
    job = ray_executor.submit(wait_for_word, fifo, log=log)
    with pytest.raises(TimeoutError, match=r"wait_for_word has no answer after 0\.05 s"):
        job.result(timeout_s=0.05)
    fifo.write_text("done")
    assert job.result() == "done"


def test_cancelling_kills_the_worker_and_the_next_call_gets_another(
    ray_executor: Executor, log: Path, fifo: Path
) -> None:
    pid = ray_executor.submit(own_pid, log=log).result()
    job = ray_executor.submit(wait_for_word, fifo, log=log)
    job.cancel()
    with pytest.raises(JobFailed, match="wait_for_word was cancelled"):
        job.result()
    assert ray_executor.submit(own_pid, log=log).result() != pid
    assert not is_running(pid)


def test_two_workers_run_side_by_side(two_workers: Executor, log: Path, fifo: Path) -> None:
    # Neither end of a pipe opens without the other.
    waiting = two_workers.submit(wait_for_word, fifo, log=log)
    writing = two_workers.submit(write_word, fifo, "met", log=log)
    assert waiting.result() == "met"
    writing.result()


def test_calls_beyond_the_workers_wait_in_line(two_workers: Executor, log: Path) -> None:
    jobs = [two_workers.submit(pow, number, 2, log=log) for number in range(7)]
    assert [job.result() for job in reversed(jobs)] == [36, 25, 16, 9, 4, 1, 0]


def test_a_call_in_line_can_be_cancelled_without_harm_to_the_others(
    two_workers: Executor, log: Path, fifo: Path
) -> None:
    first = two_workers.submit(wait_for_word, fifo, log=log)
    second = two_workers.submit(wait_for_word, fifo, log=log)
    in_line = two_workers.submit(own_pid, log=log)
    in_line.cancel()
    with pytest.raises(JobFailed, match="own_pid was cancelled"):
        in_line.result()
    second.cancel()
    fifo.write_text("still here")
    assert first.result() == "still here"


def test_closing_cancels_what_is_under_way(ray_executor: Executor, log: Path, fifo: Path) -> None:
    del ray_executor
    executor = open_executor("ray", RaySettings(), Resources(cpus_per_worker=1))
    running = executor.submit(wait_for_word, fifo, log=log)
    in_line = executor.submit(own_pid, log=log)
    executor.close()
    executor.close()
    for job in (running, in_line):
        with pytest.raises(JobFailed, match="was cancelled"):
            job.result()
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(own_pid, log=log)


def test_a_closed_executor_leaves_a_joined_ray_running(
    ray_executor: Executor, two_workers: Executor, log: Path
) -> None:
    two_workers.close()
    assert ray_executor.submit(own_pid, log=log).result() > 0


def test_more_cpus_than_there_are_is_refused_with_the_numbers(ray_executor: Executor) -> None:
    with pytest.raises(ConfigError, match=r"1 worker x 64 CPUs do not fit on .*\(6 CPUs, 0 GPUs\)"):
        open_executor("ray", RaySettings(), Resources(cpus_per_worker=64))


def test_ray_writes_nothing_into_the_home_folder(
    ray_executor: Executor, ray_home: Path, log: Path
) -> None:
    ray_executor.submit(own_pid, log=log).result()
    assert list(ray_home.iterdir()) == []


def test_control_c_passes_and_the_call_goes_on(
    ray_executor: Executor, log: Path, fifo: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        ray_executor.submit(interrupt_and_wait, os.getpid(), fifo, log=log).result()
    fifo.write_text("the worker heard nothing of it")
