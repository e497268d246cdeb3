"""Small presets of learners run to their end, and presets as published say what was published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from al_orchestrator import Experiment, load_config
from al_orchestrator.cli import app
from al_orchestrator.pool import Pool
from al_orchestrator.predicting import learner_of
from al_orchestrator.run_dir import Workspace
from trainers import FERClassifier

if TYPE_CHECKING:
    from trainers.optimizers import Adam

pytestmark = pytest.mark.torch

PRESETS = Path(__file__).parents[2] / "experiments"
LEARNERS = ("dacl", "linear_probe", "poster_v1", "poster_v2", "vgg")
POSTERS = ("poster_v1_rafdb", "poster_v1_affectnet", "tiny/poster_v1")


@pytest.mark.parametrize("preset", LEARNERS)
def test_a_tiny_preset_runs_to_its_end(tmp_path: Path, preset: str) -> None:
    changes = ["executor=in_process", "tracking={name: nothing}"]
    if preset != "linear_probe":
        changes.append("trainer.epochs=2")  # all there is to see is seen in two
    config = load_config(PRESETS / "tiny" / f"{preset}.yaml", changes)
    with Experiment.open(config, root=tmp_path) as experiment:
        done = list(experiment.rounds())
    assert [each.labelled for each in done] == [60, 100]
    for each in done:
        assert all(np.isfinite(value) for value in each.metrics.values())
        assert 0 <= each.metrics["test/balanced_accuracy"] <= 1


@pytest.mark.parametrize("merge", [True, False])
def test_both_stages_of_the_tiny_vgg_run_one_after_the_other(tmp_path: Path, merge: bool) -> None:
    small = ["dataset.num_train=40", "dataset.num_val=20", "dataset.num_test=14"]
    small += ["budget.initial=20", "budget.batch_size=10", "executor=in_process"]
    small += ["tracking={name: nothing}", "trainer.epochs=1"]

    def train(preset: str, *changes: str) -> tuple[Path, dict[str, Any]]:
        words = ["train", str(PRESETS / "tiny" / f"{preset}.yaml"), "--root", str(tmp_path)]
        words += [word for change in (*small, *changes) for word in ("--set", change)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        run = Workspace(tmp_path).run(f"{preset}-all")
        with Pool(run.ledger, read_only=True) as pool:
            stage = dict(pool.stage(0, "train") or {})
        return run.folder, stage

    folder, first = train("vgg")
    # Where the preset's own head says it lies.
    checkpoint = folder / "round-000/train.attempt-1/checkpoint.pt"
    assert (folder / first["checkpoint"]) == checkpoint
    start, merging = f"trainer.start_from={checkpoint}", f"validation.merge={str(merge).lower()}"
    folder, second = train("vgg_finetune", start, merging)
    assert second["initial_digest"] == first["checkpoint_digest"]
    assert second["checkpoint_digest"] != first["checkpoint_digest"]
    assert learner_of(Workspace(tmp_path).run(folder.name)).labelled == (60 if merge else 40)
    measured = {name for name in second["metrics"] if name.startswith(("validation/", "best/"))}
    assert bool(measured) == (not merge)


def poster(preset: str) -> FERClassifier:
    trainer = load_config(PRESETS / f"{preset}.yaml").trainer
    assert isinstance(trainer, FERClassifier)
    return trainer


@pytest.mark.parametrize("preset", POSTERS)
def test_the_published_loss_of_poster_is_three_times_that_of_its_presets(preset: str) -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(20, 7), scale=4))
    labels = torch.from_numpy(rng.integers(0, 7, 20))
    log_probs = logits.log_softmax(1)
    hit = -log_probs[torch.arange(20), labels].mean()
    smoothed = 0.8 * hit - 0.2 * log_probs.mean()  # a fifth spread over all classes
    ours = F.cross_entropy(logits, labels, label_smoothing=poster(preset).label_smoothing)
    torch.testing.assert_close(3 * ours, 2 * smoothed + hit)


def test_adam_takes_the_same_steps_by_a_third_of_the_loss_and_of_epsilon() -> None:
    adam: Adam = poster("poster_v1_rafdb").optimizer  # type: ignore[assignment]
    by_whole, by_third = (torch.zeros(4, dtype=torch.float64, requires_grad=True) for _ in "ab")
    published = torch.optim.Adam([by_whole], lr=1e-2, eps=1e-8)
    ours = torch.optim.Adam([by_third], lr=1e-2, eps=adam.eps)
    for step in range(5):
        gradient = torch.tensor([1.0, -3e-4, 2e-8, 5e-9], dtype=torch.float64) * (1 + step)
        by_whole.grad, by_third.grad = 3 * gradient, gradient
        published.step()
        ours.step()
    torch.testing.assert_close(by_third, by_whole, rtol=1e-9, atol=0)


def test_poster_adds_the_published_noise_on_raf_db_and_none_on_affectnet() -> None:
    noise = poster("poster_v1_rafdb").noise
    assert noise is not None
    assert (noise.share, noise.variance) == (0.25, 30)
    assert poster("poster_v1_affectnet").noise is None
