from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from al_orchestrator.errors import ConfigError, RunInUse
from al_orchestrator.run_dir import RunDir, Workspace


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    (tmp_path / "mine").mkdir()
    return RunDir(tmp_path / "mine")


def test_a_second_holder_is_refused_and_told_who_holds_it(run: RunDir) -> None:
    with run.held():
        with (
            pytest.raises(RunInUse, match=rf"driven by process {os.getpid()} on .* since"),
            run.held(),
        ):
            pass
        owner = run.owner()
        assert owner is not None
        assert owner["pid"] == os.getpid()
    assert run.owner() is None


def test_a_lock_is_free_again_after_it_was_let_go(run: RunDir) -> None:
    with run.held():
        pass
    with run.held():
        pass


def hold_and_die(folder: Path) -> None:
    with RunDir(folder).held():
        os.kill(os.getpid(), 9)


def test_a_killed_holder_leaves_no_lock_behind(run: RunDir) -> None:
    child = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(run.folder,))
    child.start()
    child.join()
    assert child.exitcode == -9
    with run.held():
        pass


def test_looking_for_the_owner_never_creates_a_lock(run: RunDir) -> None:
    assert run.owner() is None
    assert not run.lock.exists()


def test_names_the_workspace_needs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be called 'datasets'"):
        Workspace(tmp_path).run("datasets")


def test_tidying_keeps_what_is_on_record_and_what_people_read(run: RunDir) -> None:
    attempt = run.attempt(0, "train", 1)
    attempt.mkdir(parents=True)
    for name in ("final.pt", "epoch.pt", "worker.log", "metrics.jsonl"):
        (attempt / name).write_text(name)
    run.tidy(0, frozenset({run.relative(attempt / "final.pt")}))
    left = sorted(path.name for path in attempt.iterdir())
    assert left == ["final.pt", "metrics.jsonl", "worker.log"]
