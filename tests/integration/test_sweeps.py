"""A sweep does what is left, whatever happened before, and its runs can be compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from al_orchestrator.cli import app
from al_orchestrator.pool import Pool
from al_orchestrator.run_dir import RunDir, Workspace
from al_orchestrator.sweeps import Plan, Standing, Trial, load_plan, run_sweep, standings

pytestmark = [pytest.mark.ray, pytest.mark.torch, pytest.mark.slow]

BASE = """\
dataset: {name: faces, image_size: 16, num_train: 80, num_val: 14, num_test: 20}
strategy: {name: random}
trainer: {name: linear_probe, encoder: {name: resnet10_narrow, width: 4}}
budget: {initial: 10, batch_size: 5, rounds: 3}
executor: in_process
tracking: {name: nothing}
ray: {num_cpus: 1}
resources: {device: cpu}
"""
AXES = "base: base.yaml\naxes: {strategy: [random, margin, entropy]}\nseeds: 2\n"


def write(folder: Path, axes: str = AXES, base: str = BASE) -> Path:
    (folder / "base.yaml").write_text(base)
    path = folder / "grid.yaml"
    path.write_text(axes)
    return path


def silent(over: int, total: int, stands: Standing) -> None:
    pass


def events(run: RunDir, kind: str) -> int:
    with Pool(run.ledger, read_only=True) as pool:
        return sum(event.kind == kind for event in pool.events())


def first_batch(run: RunDir) -> list[str]:
    with Pool(run.ledger, read_only=True) as pool:
        return [sample.id for sample in pool.acquired(0)]


@pytest.fixture(autouse=True)
def one_core(ray_of: Callable[[int], None]) -> None:
    """For the sweeps of this process; each command starts a Ray of its own."""
    ray_of(1)


def test_a_sweep_runs_reports_failures_and_does_only_what_is_left(tmp_path: Path) -> None:
    path, root = write(tmp_path), tmp_path / "runs"
    plan, workspace = load_plan(path), Workspace(root)
    spoilt = workspace.run("grid-margin-s0")
    spoilt.folder.mkdir(parents=True)
    spoilt.config.write_text("name: grid-margin-s0\n")  # a run without its ledger
    told: list[tuple[int, int, str]] = []

    def progress(over: int, total: int, stands: Standing) -> None:
        told.append((over, total, stands.trial.name))

    with killing_the_first(plan, workspace) as killed:
        found = run_sweep(plan, root, progress=progress)

    states = {each.trial.name: each for each in found}
    failed, lost = states.pop("grid-margin-s0"), states.pop(killed[0])
    assert (failed.state, lost.state) == ("failed", "failed")
    assert "without its ledger" in failed.why
    assert lost.why.startswith("its process was lost, ")
    assert {each.state for each in states.values()} == {"finished"}
    assert [over for over, _, _ in told] == [1, 2, 3, 4, 5, 6]
    assert {total for _, total, _ in told} == {6}

    spoilt.config.unlink()
    again = run_sweep(plan, root, progress=progress)
    assert {each.state for each in again} == {"finished"}
    assert {name for _, _, name in told[6:]} == {"grid-margin-s0", killed[0]}
    assert len(told) == 8
    assert [events(workspace.run(name), "started") for name in states] == [1] * 4

    # Common random numbers: one seed set for all strategies of a seed, another for another.
    batches = {each.trial.name: first_batch(workspace.run(each.trial.name)) for each in again}
    for seed in ("s0", "s1"):
        of_seed = [batches[f"grid-{name}-{seed}"] for name in ("random", "margin", "entropy")]
        assert of_seed[0] == of_seed[1] == of_seed[2]
    assert batches["grid-random-s0"] != batches["grid-random-s1"]

    result = CliRunner().invoke(app, ["compare", str(path), "--root", str(root), "--json"])
    assert result.exit_code == 0, result.output
    compared = json.loads(result.stdout)
    [cell] = compared["cells"]
    assert [row["group"] for row in cell["rows"]] == ["random", "entropy", "margin"]
    assert all(row["seeds"] == [0, 1] for row in cell["rows"])


@contextmanager
def killing_the_first(plan: Plan, workspace: Workspace) -> Iterator[list[str]]:
    """Kills the process of the first run that has one; gives the list that is to name it."""
    killed: list[str] = []

    def kill() -> None:
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            for trial in plan.trials:
                owner = workspace.run(trial.name).owner()
                if owner is not None and "pid" in owner and not killed:
                    os.kill(int(str(owner["pid"])), signal.SIGKILL)
                    killed.append(trial.name)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    yield killed
    killer.join()


def test_runs_that_start_workers_never_wait_for_each_other(tmp_path: Path) -> None:
    base = BASE.replace("executor: in_process", "executor: ray")
    axes = "base: base.yaml\naxes: {strategy: [random, margin]}\nseeds: 1\n"
    plan = load_plan(write(tmp_path, axes, base))
    found = run_sweep(plan, tmp_path / "runs", progress=silent)
    assert [each.state for each in found] == ["finished", "finished"], [each.why for each in found]


def test_killed_a_sweep_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    path, root = write(tmp_path, AXES.replace(", entropy", "")), tmp_path / "runs"
    plan, workspace = load_plan(path), Workspace(root)
    command = [sys.executable, "-m", "al_orchestrator", "sweep", str(path), "--root", str(root)]
    child = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        _wait_for(lambda: _finished(workspace, plan.trials), at_least=1, child=child)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    before = [each for each in standings(workspace, plan.trials) if each.state == "finished"]
    assert 1 <= len(before) < len(plan.trials), "the sweep ended before it could be killed"

    found = run_sweep(plan, root, progress=silent)

    assert {each.state for each in found} == {"finished"}
    for each in before:
        assert events(workspace.run(each.trial.name), "started") == 1


def _finished(workspace: Workspace, trials: Sequence[Trial]) -> int:
    return sum(each.state == "finished" for each in standings(workspace, trials))


def _wait_for(count: Callable[[], int], *, at_least: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while count() < at_least:
        assert child.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
