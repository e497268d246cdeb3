"""A run that a rule ends, killed wherever it decides, ends in the same round, for one reason."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from killing import Blow, Instant, count_instants, drive, outcome

from al_orchestrator.reports.runs import status_of
from al_orchestrator.run_dir import RunDir

pytestmark = pytest.mark.torch

_KILLED = -9
RULED = """
dataset: {name: faces, image_size: 16, num_train: 120, num_val: 21, num_test: 40}
strategy: {name: margin}
trainer: {name: linear_probe, encoder: {name: resnet10_narrow, width: 4}}
budget: {initial: 14, batch_size: 7, rounds: 9}
validation: {size: 14}
stop:
  - name: all
    of:
      - {name: stabilized, size: 60, rounds: 2, threshold: 0.2}
      - {name: cost, limit: 40}
executor: in_process
tracking: {name: nothing}
resources: {cpus_per_worker: 1, device: cpu}
"""


@dataclass(frozen=True)
class Undisturbed:
    config: Path
    datasets: Path
    instants: dict[Instant, int]
    outcome: dict[str, Any]
    stopped: str


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("ruled")
    config = folder / "small.yaml"
    config.write_text(RULED)
    assert drive(config, folder / "packing", None) == 0
    shutil.copytree(folder / "packing" / "datasets", folder / "runs" / "datasets")
    instants = count_instants(config, folder / "runs")
    return Undisturbed(
        config,
        folder / "runs" / "datasets",
        instants,
        outcome(folder / "runs"),
        status_of(RunDir(folder / "runs" / "small")).stopped,
    )


def test_the_rules_end_it_long_before_its_budget(undisturbed: Undisturbed) -> None:
    assert 3 <= len(undisturbed.outcome["rounds"]) < 9
    assert undisturbed.stopped.startswith("all: stabilized: models agree with a mean kappa of ")


@pytest.mark.parametrize("part", range(3))
def test_killed_where_it_decides_it_decides_the_same(
    undisturbed: Undisturbed, tmp_path: Path, part: int
) -> None:
    commits = undisturbed.instants["before_commit"]
    for n in range(commits - 11 + part, commits + 1, 3):  # of the last two rounds
        root = tmp_path / f"runs-{n}"
        shutil.copytree(undisturbed.datasets, root / "datasets")
        assert drive(undisturbed.config, root, Blow("before_commit", n)) == _KILLED
        assert drive(undisturbed.config, root, None) == 0
        assert outcome(root) == undisturbed.outcome, f"killed before commit {n}"
        assert status_of(RunDir(root / "small")).stopped == undisturbed.stopped
