"""A child process that drives an experiment and is killed at a chosen instant.

Nothing in the product knows of this: commits are seen through SQLAlchemy's own events and files
through the interpreter's audit hook, so every commit and every rename is an instant to die at.

To try them all, one run is stopped at each of them, threads and all, and its workspace copied: a
process killed then would have left just that. Each copy goes on where the run itself was.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from forked import forked_with

Instant = Literal["before_commit", "after_commit", "before_rename"]

KILLED = -9

EXPERIMENT = """
dataset: {name: faces, image_size: 16, num_train: 120, num_val: 21, num_test: 40}
strategy: {name: badge}
trainer:
  name: fer_classifier
  encoder: {name: resnet10_narrow, width: 4}
  epochs: 2
  batch_size: 8
  checkpoint_every_s: 0
budget: {initial: 14, batch_size: 7, rounds: 3}
validation: {size: 14}
executor: in_process
tracking: {name: nothing}
resources: {cpus_per_worker: 1, device: cpu}
"""

_context = forked_with(
    "trainers.deep.predict",
    "al_orchestrator.cli",
    "al_orchestrator.experiment",
    "al_orchestrator.executors.in_process",
    "al_orchestrator.reports.tables",
    "al_orchestrator.tracking.mlflow_tracker",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pandas",
)


@dataclass(frozen=True)
class Blow:
    """Die at the n-th passing of an instant, counted from one."""

    instant: Instant
    n: int


@dataclass(frozen=True)
class Undisturbed:
    """A finished run that nobody disturbed, and its workspace at each of its instants."""

    config: Path
    root: Path  # where it has finished
    datasets: Path  # packed once, shared by every run
    instants: dict[Instant, int]
    outcome: dict[str, Any]

    def resume(self, blow: Blow) -> Path:
        """Starts the run again that was killed by this; returns its workspace, the same for all."""
        root = self.root.with_name("runs")
        if root.exists():
            shutil.rmtree(root)
        shutil.copytree(_moment(self.root.parent, blow), root)
        shutil.copytree(self.datasets, root / "datasets")
        assert drive(self.config, root, None) == 0
        return root


def undisturb(folder: Path, experiment: str) -> Undisturbed:
    """Runs an experiment in a folder and keeps its workspace at each instant."""
    config = folder / "small.yaml"
    config.write_text(experiment)
    assert drive(config, folder / "packing", None) == 0
    datasets = folder / "packing" / "datasets"
    shutil.copytree(datasets, folder / "runs" / "datasets")
    instants = _keep_instants(config, folder / "runs")
    finished = (folder / "runs").rename(folder / "finished")  # out of the way of what goes on
    return Undisturbed(config, finished, datasets, instants, outcome(finished))


def _moment(folder: Path, blow: Blow) -> Path:
    return folder / f"{blow.instant}-{blow.n}"


def _keep_instants(config: Path, root: Path) -> dict[Instant, int]:
    """Runs an experiment, stopped at each instant to copy its workspace; counts the instants."""
    instants, told = multiprocessing.Pipe(duplex=False)
    process = _context.Process(target=_stopping_child, args=(config, root, told))
    process.start()
    assert process.pid is not None
    told.close()
    counts: dict[Instant, int] = {"before_commit": 0, "after_commit": 0, "before_rename": 0}
    with contextlib.suppress(EOFError):  # it has ended
        while True:
            instant: Instant = instants.recv()
            if not _stops(process.pid):
                break  # the mirror's thread told of an instant, and its process was at its end
            counts[instant] += 1
            kept = _moment(root.parent, Blow(instant, counts[instant]))
            shutil.copytree(root, kept, ignore=shutil.ignore_patterns("datasets"))
            os.kill(process.pid, signal.SIGCONT)
    process.join(60)
    assert process.exitcode == 0
    return counts


def _stops(pid: int) -> bool:
    """Waits until a process is stopped; false if it has ended instead."""
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "TZ":
            return state == "T"
        time.sleep(0.001)


def kill_and_resume(undisturbed: Undisturbed, root: Path, blow: Blow) -> None:
    """The same run, really killed at an instant and started again."""
    shutil.copytree(undisturbed.datasets, root / "datasets")
    if drive(undisturbed.config, root, blow) == KILLED:
        assert drive(undisturbed.config, root, None) == 0
    else:
        # How much of its outbox a run sends before it ends is up to chance, so the last few
        # instants may not come.
        assert blow.n > 0.8 * undisturbed.instants[blow.instant]


def drive(config: Path, root: Path, blow: Blow | None, overrides: Sequence[str] = ()) -> int:
    """Runs `alo run` in a process of its own; returns its exit code, -9 if it was killed."""
    process = _context.Process(target=_child, args=(config, root, blow, tuple(overrides)))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the child hangs"
    return process.exitcode


def drive_for(config: Path, root: Path, seconds: float, overrides: Sequence[str] = ()) -> int:
    """Runs `alo run` and kills it after so many seconds, wherever it is; returns its exit code."""
    process = _context.Process(target=_child, args=(config, root, None, tuple(overrides)))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def drive_together(config: Path, root: Path, *overrides: str) -> tuple[int, int]:
    """Starts `alo run` twice at once, the second time with overrides; returns both exit codes."""
    processes = [
        _context.Process(target=_child, args=(config, root, None, each)) for each in ((), overrides)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    first, second = (process.exitcode for process in processes)
    assert first is not None
    assert second is not None
    return first, second


def signalled(
    config: Path, root: Path, number: signal.Signals, when: Path, overrides: Sequence[str] = ()
) -> int:
    """Runs `alo run`, sends it a signal once the file `when` is there; returns its exit code."""
    process = _context.Process(target=_child, args=(config, root, None, tuple(overrides)))
    process.start()
    while process.is_alive() and not when.exists():
        process.join(0.01)
    assert process.pid is not None
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(300)
    assert process.exitcode is not None, "the child hangs"
    return process.exitcode


def outcome(root: Path, run: str = "small") -> dict[str, Any]:
    """Everything about a finished run that must not depend on how often it was killed."""
    import json

    connection = sqlite3.connect(f"file:{root / run / 'pool.db'}?mode=ro", uri=True)
    try:
        stages = {
            (number, name): _lasting(json.loads(result))
            for number, name, result in connection.execute(
                "SELECT round, name, result FROM stage ORDER BY round, name"
            )
        }
        return {
            "queries": connection.execute(
                "SELECT round, rank, id, score FROM query ORDER BY round, rank"
            ).fetchall(),
            "labels": connection.execute(
                "SELECT id, label, source FROM label ORDER BY id"
            ).fetchall(),
            "rounds": connection.execute("SELECT number, state FROM round").fetchall(),
            "stages": stages,
        }
    finally:
        connection.close()


def _lasting(result: dict[str, Any]) -> dict[str, Any]:
    """Without wall times and the number of the attempt, which a kill may change."""
    transient = {"seconds", "checkpoint", "checkpoint_file", "files", "test_predictions"}
    transient |= {"maps", "log_probs"}
    return {key: value for key, value in result.items() if key not in transient}


def _child(config: Path, root: Path, blow: Blow | None, overrides: tuple[str, ...]) -> None:
    if blow is not None:
        left = [blow.n]

        def pass_by(instant: Instant) -> None:
            if instant == blow.instant:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        _watch(pass_by, root)
    _run_cli(config, root, overrides)


def _stopping_child(config: Path, root: Path, told: Connection) -> None:
    one_at_a_time = threading.Lock()

    def pass_by(instant: Instant) -> None:
        with one_at_a_time:
            told.send(instant)
            os.kill(os.getpid(), signal.SIGSTOP)

    _watch(pass_by, root)
    _run_cli(config, root, ())


class _Commits:
    """Sees the beginning, the eve and the end of each transaction that writes."""

    def __init__(self, pass_by: Callable[[Instant], None]) -> None:
        self._pass_by = pass_by
        self._writing = False
        sa.event.listen(sa.Engine, "before_cursor_execute", self._executes)
        sa.event.listen(sa.Engine, "commit", self._commits)
        sa.event.listen(sa.pool.Pool, "checkin", self._returned)

    def _executes(self, _: sa.Connection, __: object, statement: str, *___: object) -> None:
        self._writing = self._writing or statement == "BEGIN IMMEDIATE"

    def _commits(self, _: sa.Connection) -> None:
        if self._writing:
            self._pass_by("before_commit")

    def _returned(self, *_: object) -> None:
        if self._writing:
            self._writing = False
            self._pass_by("after_commit")


def _watch(pass_by: Callable[[Instant], None], root: Path) -> None:
    _Commits(pass_by)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and str(root) in str(arguments[0]):
            pass_by("before_rename")

    sys.addaudithook(audit)


def _run_cli(config: Path, root: Path, overrides: tuple[str, ...]) -> None:
    from al_orchestrator.cli import main

    settings = [part for override in overrides for part in ("--set", override)]
    sys.argv = ["alo", "run", str(config), "--root", str(root), "--quiet", *settings]
    main()
