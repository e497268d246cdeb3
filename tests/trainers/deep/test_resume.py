"""A fit killed anywhere ends, when it goes on, in the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from forked import fit_until_killed

from trainers import Encoder, FERClassifier
from trainers.deep import checkpoints
from trainers.recipes import StopRules

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

TRAINER = FERClassifier(
    encoder=Encoder(name="resnet10_narrow", width=4),
    epochs=5,
    batch_size=16,
    dropout=0.2,
    checkpoint_every_s=0,
    stopping=StopRules(saturation_window=None, divergence_every=None),
)
RESTARTING = TRAINER.model_copy(
    update={"stopping": StopRules(divergence_every=3, divergence_accuracy=0.99)}
)

Interrupt = Callable[..., Path]


@pytest.fixture
def fit_until_interrupted(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """A fit that is interrupted before its so-manieth checkpoint."""

    def fit(
        attempt: str, *, before: int, trainer: FERClassifier = TRAINER, **changes: object
    ) -> Path:
        saved = checkpoints.save
        paths: list[Path] = []

        def save_or_stop(path: Path, content: Mapping[str, object]) -> None:
            paths.append(path)
            if len(paths) == before:
                raise KeyboardInterrupt
            saved(path, content)

        task = toy.task(attempt, **changes)
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "save", save_or_stop)
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(task)
        return task.out_dir

    return fit


def assert_goes_on_to_the_same_bits(toy: Toy, left: Path, trainer: FERClassifier = TRAINER) -> None:
    resumed = trainer.fit(toy.task("resumed", resume_from=left))
    undisturbed = toy.once(trainer.fit, toy.task("undisturbed"))
    assert resumed.checkpoint_digest == undisturbed.checkpoint_digest
    assert resumed.metrics == undisturbed.metrics
    assert resumed.initial_digest == undisturbed.initial_digest
    assert (resumed.epochs, resumed.steps) == (undisturbed.epochs, undisturbed.steps)
    assert resumed.notes == undisturbed.notes
    epochs = [json.loads(line)["epoch"] for line in log_of(toy.root / "resumed")]
    assert epochs == [1, 2, 3, 4, 5]


def log_of(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


@pytest.mark.parametrize(("when", "number"), [("before", 3), ("after", 3)])
def test_a_killed_fit_goes_on_to_the_same_bits(
    toy: Toy, when: Literal["before", "after"], number: int
) -> None:
    task = toy.task("killed")
    fit_until_killed(TRAINER, task, when, number)
    assert_goes_on_to_the_same_bits(toy, task.out_dir)


# Five epochs; the sixth checkpoint is the learner's own, the seventh that of the best epoch.
@pytest.mark.parametrize("before", [1, 2, 4, 5, 6, 7])
def test_an_interrupted_fit_goes_on_to_the_same_bits(
    toy: Toy, fit_until_interrupted: Interrupt, before: int
) -> None:
    assert_goes_on_to_the_same_bits(toy, fit_until_interrupted("stopped", before=before))


@pytest.mark.parametrize("before", [3, 4, 5])
def test_going_on_across_a_fresh_start_ends_in_the_same_bits(
    toy: Toy, fit_until_interrupted: Interrupt, before: int
) -> None:
    left = fit_until_interrupted("stopped", before=before, trainer=RESTARTING)
    assert_goes_on_to_the_same_bits(toy, left, RESTARTING)
    restarts = [json.loads(line)["restarted"] for line in log_of(toy.root / "resumed")]
    assert restarts == [False, False, True, False, False]


def test_a_fit_interrupted_three_times_goes_on_to_the_same_bits(
    toy: Toy, fit_until_interrupted: Interrupt
) -> None:
    first = fit_until_interrupted("first", before=3)
    # The first checkpoint of an attempt that goes on is a copy of where it goes on from.
    second = fit_until_interrupted("second", before=2, resume_from=first)
    history = checkpoints.load(second / "epoch.pt")["history"]
    assert isinstance(history, list)
    assert len(history) == 2
    third = fit_until_interrupted("third", before=3, resume_from=second)
    assert_goes_on_to_the_same_bits(toy, third)


def test_an_attempt_that_left_nothing_is_begun_anew(toy: Toy) -> None:
    (toy.root / "nothing").mkdir()
    resumed = TRAINER.fit(toy.task("resumed", resume_from=toy.root / "nothing"))
    assert resumed.checkpoint_digest == toy.once(TRAINER.fit, toy.task("other")).checkpoint_digest


@pytest.mark.parametrize("change", ["seed", "labels", "settings"])
def test_what_an_attempt_at_another_task_left_is_not_gone_on_with(
    toy: Toy,
    fit_until_interrupted: Interrupt,
    change: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    left = fit_until_interrupted("stopped", before=3)
    changes: dict[str, dict[str, object]] = {
        "seed": {"seed": 8},
        "labels": {"labelled": toy.examples(1, 64)},
        "settings": {},
    }
    trainer = TRAINER.model_copy(update={"batch_size": 8} if change == "settings" else {})
    resumed = trainer.fit(toy.task("resumed", resume_from=left, **changes[change]))
    fresh = trainer.fit(toy.task("fresh", **changes[change]))
    assert resumed.checkpoint_digest == fresh.checkpoint_digest
    assert "is of another task" in caplog.text


def test_a_damaged_checkpoint_does_not_stand_in_the_way(
    toy: Toy, fit_until_interrupted: Interrupt, caplog: pytest.LogCaptureFixture
) -> None:
    left = fit_until_interrupted("stopped", before=3)
    whole = (left / "epoch.pt").read_bytes()
    (left / "epoch.pt").write_bytes(whole[: len(whole) // 2])
    assert_goes_on_to_the_same_bits(toy, left)
    assert "training begins anew" in caplog.text


def test_going_on_keeps_the_threads_it_was_begun_with(
    toy: Toy, fit_until_interrupted: Interrupt
) -> None:
    left = fit_until_interrupted("stopped", before=3)
    torch.set_num_threads(2)
    resumed = TRAINER.fit(toy.task("resumed", resume_from=left))
    assert resumed.notes["threads"] == "1"
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert resumed.checkpoint_digest == toy.once(TRAINER.fit, toy.task("other")).checkpoint_digest
