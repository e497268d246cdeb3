"""A run that a rule ends, killed wherever it decides, ends in the same round, for one reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import Blow, Undisturbed, outcome, undisturb

from al_orchestrator.reports.runs import status_of
from al_orchestrator.run_dir import RunDir

pytestmark = pytest.mark.torch

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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturb(tmp_path_factory.mktemp("ruled"), RULED)


def stopped(root: Path) -> str:
    return status_of(RunDir(root / "small")).stopped


def test_the_rules_end_it_long_before_its_budget(undisturbed: Undisturbed) -> None:
    assert 3 <= len(undisturbed.outcome["rounds"]) < 9
    why = stopped(undisturbed.root)
    assert why.startswith("all: stabilized: models agree with a mean kappa of ")


def test_killed_where_it_decides_it_decides_the_same(
    undisturbed: Undisturbed,
) -> None:
    commits = undisturbed.instants["before_commit"]
    for n in range(commits - 9, commits + 1):  # from the scores that the rules look at to the end
        root = undisturbed.resume(Blow("before_commit", n))
        assert outcome(root) == undisturbed.outcome, f"killed before commit {n}"
        assert stopped(root) == stopped(undisturbed.root)
