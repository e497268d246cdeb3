"""A run killed at any instant and started again is the run that was never disturbed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from killing import EXPERIMENT, Blow, Instant, count_instants, drive, outcome

pytestmark = pytest.mark.torch

_KILLED = -9
_SHARE = 4  # tests that divide the instants among them, so that several workers can take them


@dataclass(frozen=True)
class Undisturbed:
    config: Path
    datasets: Path  # packed once, shared by every run
    instants: dict[Instant, int]
    outcome: dict[str, Any]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    config = folder / "small.yaml"
    config.write_text(EXPERIMENT)
    assert drive(config, folder / "packing", None) == 0
    shutil.copytree(folder / "packing" / "datasets", folder / "runs" / "datasets")
    instants = count_instants(config, folder / "runs")
    return Undisturbed(config, folder / "runs" / "datasets", instants, outcome(folder / "runs"))


def resumed_after(blow: Blow, undisturbed: Undisturbed, root: Path) -> dict[str, Any]:
    shutil.copytree(undisturbed.datasets, root / "datasets")
    if drive(undisturbed.config, root, blow) == _KILLED:
        assert drive(undisturbed.config, root, None) == 0
    else:
        # The mirror marks one message or several in a commit, so the last few may not come.
        assert blow.n > 0.8 * undisturbed.instants[blow.instant]
    return outcome(root)


def test_two_undisturbed_runs_are_equal(undisturbed: Undisturbed, tmp_path: Path) -> None:
    assert drive(undisturbed.config, tmp_path / "runs", None) == 0
    assert outcome(tmp_path / "runs") == undisturbed.outcome


def test_there_are_enough_instants_to_die_at(undisturbed: Undisturbed) -> None:
    # 3 rounds: take-over, seed set, answers, status, and train, score, query, label, close of each.
    assert undisturbed.instants["before_commit"] >= 20
    assert undisturbed.instants["before_rename"] >= 9  # three epochs in three rounds


@pytest.mark.parametrize("part", range(_SHARE))
@pytest.mark.parametrize("instant", ["before_commit", "after_commit", "before_rename"])
def test_killed_at_any_instant_it_ends_as_if_undisturbed(
    undisturbed: Undisturbed, tmp_path: Path, instant: Instant, part: int
) -> None:
    for n in range(part + 1, undisturbed.instants[instant] + 1, _SHARE):
        root = tmp_path / f"runs-{n}"
        found = resumed_after(Blow(instant, n), undisturbed, root)
        assert found == undisturbed.outcome, f"killed {instant} {n}"


def test_killed_again_and_again_it_still_ends_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    shutil.copytree(undisturbed.datasets, root / "datasets")
    kills = 0
    while (code := drive(undisturbed.config, root, Blow("before_commit", 5))) == _KILLED:
        kills += 1
        assert kills < 60, "it never gets anywhere"
    assert code == 0
    assert kills > 3
    assert outcome(root) == undisturbed.outcome
