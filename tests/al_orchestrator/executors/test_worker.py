"""The process on the other side, seen from inside."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from al_orchestrator.errors import JobFailed
from al_orchestrator.executors.calls import Call
from al_orchestrator.executors.worker import Worker


@pytest.fixture(autouse=True)
def a_worker_s_changes_to_its_process_are_undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


def test_a_worker_without_gpus_hides_those_of_others() -> None:
    Worker(cpus=1, gpus=0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_worker_with_gpus_sees_those_it_was_given() -> None:
    Worker(cpus=1, gpus=0.5)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_worker_keeps_what_trainers_say_of_their_progress(log: Path) -> None:
    log.parent.mkdir()
    log.touch()
    worker = Worker(cpus=1, gpus=0)
    worker.run(Call(logging.getLogger("trainers").info, ("epoch 1 of 3",)), log).unwrap()
    assert "INFO trainers: epoch 1 of 3" in log.read_text()


def test_a_worker_that_does_not_see_the_log_says_what_storage_is_needed(log: Path) -> None:
    log.parent.mkdir()  # a folder of the same name on another disk
    outcome = Worker(cpus=1, gpus=0).run(Call(pow, (2, 3)), log)
    with pytest.raises(JobFailed, match="must be on storage that every node mounts"):
        outcome.unwrap()
    assert not log.exists()
