"""A run killed at any instant and started again is the run that was never disturbed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from killing import (
    EXPERIMENT,
    KILLED,
    Blow,
    Instant,
    Undisturbed,
    drive,
    kill_and_resume,
    outcome,
    undisturb,
)

pytestmark = pytest.mark.torch

# A round that is followed by another and the last one: further ones bring no new kind of instant.
TWO_ROUNDS = EXPERIMENT.replace("rounds: 3", "rounds: 2")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturb(tmp_path_factory.mktemp("undisturbed"), TWO_ROUNDS)


def test_two_undisturbed_runs_are_equal(undisturbed: Undisturbed, tmp_path: Path) -> None:
    assert drive(undisturbed.config, tmp_path / "runs", None) == 0
    assert outcome(tmp_path / "runs") == undisturbed.outcome


def test_there_are_enough_instants_to_die_at(undisturbed: Undisturbed) -> None:
    # Take-over, seed set, answers, status, and train, score, query, label, close of each round.
    assert undisturbed.instants["before_commit"] >= 20
    assert undisturbed.instants["before_rename"] >= 9  # two epochs in two rounds, and more


@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.parametrize("instant", ["before_commit", "before_rename"])
def test_killed_at_any_instant_it_ends_as_if_undisturbed(
    undisturbed: Undisturbed, instant: Instant, part: int
) -> None:
    for n in range(part, undisturbed.instants[instant] + 1, 3):
        root = undisturbed.resume(Blow(instant, n))
        assert outcome(root) == undisturbed.outcome, f"killed {instant} {n}"


@pytest.mark.parametrize(
    "blow", [Blow("before_commit", 7), Blow("after_commit", 12), Blow("before_rename", 5)], ids=str
)
def test_really_killed_it_ends_as_if_undisturbed(
    undisturbed: Undisturbed, tmp_path: Path, blow: Blow
) -> None:
    root = tmp_path / "runs"
    kill_and_resume(undisturbed, root, blow)
    assert outcome(root) == undisturbed.outcome


def test_killed_after_a_commit_it_ends_as_if_undisturbed(undisturbed: Undisturbed) -> None:
    # What is on disk then is what is there before the next instant: a few are enough.
    for n in range(1, undisturbed.instants["after_commit"] + 1, 5):
        root = undisturbed.resume(Blow("after_commit", n))
        assert outcome(root) == undisturbed.outcome, f"killed after commit {n}"


@pytest.mark.slow
def test_killed_again_and_again_it_still_ends_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    shutil.copytree(undisturbed.datasets, root / "datasets")
    kills = 0
    while (code := drive(undisturbed.config, root, Blow("before_commit", 5))) == KILLED:
        kills += 1
        assert kills < 60, "it never gets anywhere"
    assert code == 0
    assert kills > 3
    assert outcome(root) == undisturbed.outcome
