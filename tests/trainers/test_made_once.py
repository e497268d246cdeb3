"""The fits that tests share are told apart by all that decides them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainers import LinearProbe, TrainReport, TrainTask

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the tasks that were really carried out, by a fit of no cost."""
    seeds: list[int] = []

    def fit(trainer: LinearProbe, task: TrainTask) -> TrainReport:
        seeds.append(task.seed)
        path = task.out_dir / "checkpoint.pt"
        path.write_text(f"{trainer.l2}")
        task.cache_dir.mkdir(exist_ok=True)
        (task.cache_dir / "features").write_text("there")
        return TrainReport(path, "", "", "", {}, np.eye(3, dtype=np.int64), 1, 1, "", {})

    monkeypatch.setattr(LinearProbe, "fit", fit)
    return seeds


def test_an_equal_fit_is_copied_and_another_one_made(toy: Toy, seen: list[int]) -> None:
    probe = LinearProbe(l2=0.125)
    first = toy.once(probe.fit, toy.task("first", seed=11))
    first.checkpoint.write_text("spoiled")
    (toy.root / "cache" / "features").unlink()

    again = toy.once(LinearProbe(l2=0.125).fit, toy.task("again", seed=11))

    assert seen == [11]
    assert again.checkpoint == toy.root / "again" / "checkpoint.pt"
    assert again.checkpoint.read_text() == "0.125"
    assert (toy.root / "cache" / "features").exists()
    toy.once(probe.fit, toy.task("seed", seed=12))
    toy.once(LinearProbe(l2=0.25).fit, toy.task("settings", seed=11))
    toy.once(probe.fit, replace(toy.task("labels", seed=11), labelled=toy.examples(1, 65)))
    assert seen == [11, 12, 11, 11]
    pixels = np.load(toy.images.path)
    np.save(toy.images.path, pixels + 1)
    toy.once(probe.fit, toy.task("pixels", seed=11))
    assert seen == [11, 12, 11, 11, 11]


def test_a_report_is_of_the_files_of_its_own_test(
    toy: Toy, seen: list[int], tmp_path: Path
) -> None:
    paths = {
        toy.once(LinearProbe(l2=0.0625).fit, toy.task(name)).checkpoint for name in ("a", "b", "c")
    }
    assert paths == {tmp_path / name / "checkpoint.pt" for name in ("a", "b", "c")}
    assert len(seen) == 1
