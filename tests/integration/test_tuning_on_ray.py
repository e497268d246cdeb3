"""`alo tune`, carried out: killed and begun again, it is the same search."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.config import load_config
from al_orchestrator.errors import AloError
from al_orchestrator.pool import Pool
from al_orchestrator.reports.runs import status_of
from al_orchestrator.run_dir import RunDir, Workspace
from al_orchestrator.sweeps import Plan, Standing, standings
from al_orchestrator.sweeps.tuning import load_tuning, tune

pytestmark = [pytest.mark.ray, pytest.mark.torch, pytest.mark.slow]

BASE = """\
dataset: {name: digits}
strategy: {name: random}
trainer: {name: linear_probe, encoder: {name: resnet10_narrow, width: 4}}
budget: {initial: 20, batch_size: 20, rounds: 3}
validation: {size: 60}
executor: in_process
tracking: {name: nothing}
ray: {num_cpus: 1}
resources: {device: cpu}
"""
SEARCH = """\
base: base.yaml
space:
  trainer.l2: {low: 0.001, high: 1000.0, log: true}
  trainer.max_iterations: [5, 50]
search: {name: optuna, trials: 4, startup: 2, together: 2}
"""
GRID = """\
base: base.yaml
space: {trainer.l2: [1.0, 1000000.0]}
search: {name: grid}
"""
TRIALS = 4
BOTH = ("whole", "broken")


def command(folder: Path, root: Path) -> list[str]:
    (folder / "base.yaml").write_text(BASE)
    (folder / "find.yaml").write_text(SEARCH)
    words = ["tune", folder / "find.yaml", "--root", root, "--out", root.with_suffix(".yaml")]
    return [*map(str, words), "--json", "--quiet"]


def searched(folder: Path, root: Path) -> list[dict[str, Any]]:
    """What the command says it tried, best first."""
    done = CliRunner().invoke(app, command(folder, root), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def undisturbed(folder: Path) -> list[dict[str, Any]]:
    """The same search carried out in this process, one run after the other."""

    def run(plan: Plan) -> list[Standing]:
        for trial in plan.trials:
            with Experiment.open(trial.config, folder / "whole") as experiment:
                list(experiment.rounds())
        return standings(Workspace(folder / "whole"), plan.trials)

    tried = tune(load_tuning(folder / "find.yaml"), folder / "whole", run)
    found: list[dict[str, Any]] = json.loads(json.dumps([vars(one) for one in tried]))
    return found


def killed(folder: Path, root: Path, *, after: int) -> list[RunDir]:
    """Kills the command once so many runs have finished; returns those that had."""
    child = subprocess.Popen(
        [sys.executable, "-m", "al_orchestrator", *command(folder, root)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 600
        while len(finished(root)) < after:
            assert child.poll() is None, "the search ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return finished(root)


def finished(root: Path) -> list[RunDir]:
    def has_finished(run: RunDir) -> bool:
        try:
            return status_of(run).state == "finished"
        except (AloError, FileNotFoundError):  # its folder is just being made
            return False

    return [run for run in Workspace(root).runs() if has_finished(run)]


def starts(run: RunDir) -> int:
    with Pool(run.ledger, read_only=True) as pool:
        return sum(event.kind == "started" for event in pool.events())


def test_killed_and_begun_again_it_suggests_the_same_and_finds_the_same_best(
    tmp_path: Path, ray_of: Callable[[int], None]
) -> None:
    ray_of(1)
    done = killed(tmp_path, tmp_path / "broken", after=2)
    assert 2 <= len(done) < TRIALS, "the search ended before it could be killed"
    assert not (tmp_path / "broken.yaml").exists()
    broken = searched(tmp_path, tmp_path / "broken")

    whole = undisturbed(tmp_path)
    assert len(whole) == TRIALS
    assert all(one["value"] is not None for one in whole)

    assert broken == whole
    runs = {root: [run.name for run in Workspace(tmp_path / root).runs()] for root in BOTH}
    assert runs["broken"] == runs["whole"]
    assert [starts(run) for run in done] == [1] * len(done)

    best, settings = (
        load_config(tmp_path / "broken.yaml").trainer.model_dump(),
        whole[0]["settings"],
    )
    assert best["l2"] == settings["trainer.l2"]
    assert best["max_iterations"] == settings["trainer.max_iterations"]


def test_the_command_writes_an_experiment_with_the_best_settings(
    tmp_path: Path, ray_of: Callable[[int], None]
) -> None:
    ray_of(1)
    asked = command(tmp_path, tmp_path / "grid")
    (tmp_path / "find.yaml").write_text(GRID)
    result = CliRunner().invoke(app, [word for word in asked if word not in {"--json", "--quiet"}])
    assert result.exit_code == 0, result.output
    assert "--set trainer.l2=1.0" in result.output
    config = load_config(tmp_path / "grid.yaml")
    assert config.protocol.settings_from.startswith("alo tune find.yaml, 2 tried on ")
    assert config.trainer.model_dump()["l2"] == 1.0
    assert (config.budget.rounds, config.strategy.name) == (3, "random")
