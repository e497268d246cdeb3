"""Interrupted by a person, a scheduler or chance, a run goes on to the same end."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from killing import EXPERIMENT, drive, drive_for, drive_together, outcome, signalled

from al_orchestrator.config import load_config

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "small.yaml").write_text(EXPERIMENT)
    assert drive(folder / "small.yaml", folder / "runs", None) == 0
    return folder


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_asked_to_stop_it_says_so_by_its_exit_code_and_goes_on_later(
    alone: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    config, root = alone / "small.yaml", tmp_path / "runs"
    shutil.copytree(alone / "runs" / "datasets", root / "datasets")
    in_training = root / "small" / "round-001" / "train.attempt-1" / "metrics.jsonl"
    assert signalled(config, root, number, in_training) == code
    assert drive(config, root, None) == 0
    assert outcome(root) == outcome(alone / "runs")


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_first_starts_at_once_one_drives_and_the_folder_stays_whole(
    alone: Path, tmp_path: Path, attempt: int
) -> None:
    config, root = alone / "small.yaml", tmp_path / "runs"
    codes = drive_together(config, root, "strategy.name=margin")
    assert sorted(codes) == [0, 2]
    frozen = load_config(root / "small" / "experiment.yaml")
    assert frozen.strategy.name == ("badge" if codes[0] == 0 else "margin")
    assert drive(config, root, None) == codes[0]


def test_killed_twice_it_goes_on_from_the_last_epoch_that_any_attempt_left(
    alone: Path, tmp_path: Path
) -> None:
    config, root = alone / "small.yaml", tmp_path / "runs"
    longer = ["trainer.epochs=40", "budget.rounds=1"]
    attempts = [root / "small" / "round-000" / f"train.attempt-{n}" for n in (1, 2, 3)]
    assert signalled(config, root, signal.SIGKILL, attempts[0] / "epoch.pt", longer) == -9
    # Its folder is there before anything is in it.
    assert signalled(config, root, signal.SIGKILL, attempts[1], longer) == -9
    assert drive(config, root, None, longer) == 0
    # An epoch's line holds the seconds it took, so only the very same epoch has the same line.
    first, third = ((attempts[n] / "metrics.jsonl").read_text().splitlines() for n in (0, 2))
    assert third[0] == first[0]


@pytest.mark.mlflow
@pytest.mark.slow
def test_killed_at_random_with_mlflow_every_metric_stands_there_once(
    alone: Path, tmp_path: Path
) -> None:
    config, root = alone / "small.yaml", tmp_path / "runs"
    shutil.copytree(alone / "runs" / "datasets", root / "datasets")
    with_mlflow, chance = ["tracking.name=mlflow"], random.Random(0)
    kills = 0
    while drive_for(config, root, chance.uniform(0.1, 0.5 + 0.5 * kills), with_mlflow) == -9:
        kills += 1
    assert kills >= 3
    assert outcome(root) == outcome(alone / "runs")
    with sqlite3.connect(root / "mlflow.db") as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        metrics = Counter(store.execute("SELECT key, step FROM metrics").fetchall())
    assert {pair for pair, n in metrics.items() if n > 1} == set()
    assert {step for key, step in metrics if key == "test/accuracy"} == {14, 21, 28}
