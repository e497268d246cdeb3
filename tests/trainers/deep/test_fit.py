from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainers import Encoder, Examples, FERClassifier, TrainingError
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.epoch import minibatch_sizes
from trainers.deep.networks import build_network, load_learner
from trainers.deep.scoring import block_size
from trainers.deep.seeding import generator
from trainers.optimizers import SGD
from trainers.recipes import Compute, PadCrop, ResizedCrop, StopRules

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = Encoder(name="resnet10_narrow", width=4)
NEVER = StopRules(max_train_accuracy=None, saturation_window=None, divergence_every=None)


def quick(**settings: object) -> FERClassifier:
    fields = {"encoder": NARROW, "epochs": 3, "batch_size": 16, "stopping": NEVER, **settings}
    return FERClassifier.model_validate(fields)


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_few_images_are_learnt_by_heart(toy: Toy) -> None:
    trainer = quick(
        epochs=60,
        batch_size=8,
        augmentation=PadCrop(padding=0, flip=False),
        stopping=StopRules(saturation_window=None),
        optimizer=SGD(lr=0.02),
    )
    few = toy.examples(0, 32)
    report = trainer.fit(toy.task(labelled=few, test=few, validation=few))
    assert report.stop_reason.startswith("training accuracy")
    assert report.metrics["test/accuracy"] == 1.0
    assert report.epochs < 60


def test_what_is_learnt_holds_for_other_images(toy: Toy) -> None:
    report = quick(epochs=8, batch_size=8, optimizer=SGD(lr=0.02)).fit(toy.task())
    assert report.metrics["test/accuracy"] > 0.7


def test_an_epoch_equals_a_plain_loop_over_single_images(toy: Toy) -> None:
    """The slow twin: the same order, float64 normalisation, torch's unfused optimiser."""
    settings = SGD(lr=0.05, momentum=0.9, weight_decay=1e-3)
    trainer = quick(
        epochs=2,
        optimizer=settings,
        augmentation=PadCrop(padding=0, flip=False),
        label_smoothing=0.1,
    )
    task = toy.task()
    report = trainer.fit(task)
    network = build_network(
        load_learner(report.checkpoint)[0].plan, generator(7, "init", 0)
    ).train()
    assert digest_of_weights(network.state_dict()) == report.initial_digest
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3, foreach=False
    )
    packed = np.load(toy.images.path)
    for epoch, lr in ((1, 0.05), (2, 0.025)):
        optimizer.param_groups[0]["lr"] = lr
        order = torch.randperm(64, generator=generator(7, "order", epoch)).tolist()
        for start in range(0, 64, 16):
            rows = order[start : start + 16]
            images = np.stack([(packed[row] / 255 - 0.36) / 0.2 for row in rows])
            logits, _ = network(torch.from_numpy(images).permute(0, 3, 1, 2).float())
            labels = torch.from_numpy(toy.labels[rows])
            loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    fitted, _ = load_learner(report.checkpoint)
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(fitted.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def test_the_cap_of_epochs_and_the_count_of_steps_are_exact(toy: Toy) -> None:
    report = quick(epochs=3, batch_size=20).fit(toy.task())
    # 64 images: 20, 20, 20 and 4.
    assert (report.epochs, report.steps, report.stop_reason) == (3, 12, "all 3 epochs")
    assert [line["epoch"] for line in lines(toy.root / "attempt-1")] == [1, 2, 3]


def test_a_small_labelled_set_gets_its_least_steps(toy: Toy) -> None:
    rules = StopRules(min_steps=11)
    report = quick(epochs=2, stopping=rules).fit(toy.task(labelled=toy.examples(0, 8)))
    assert (report.epochs, report.steps) == (11, 11)
    assert lines(toy.root / "attempt-1")[0]["total_epochs"] == 11


def test_the_learning_rate_follows_the_cosine(toy: Toy) -> None:
    quick(epochs=4, optimizer=SGD(lr=0.2)).fit(toy.task())
    rates = [line["lr"] for line in lines(toy.root / "attempt-1")]
    assert rates == pytest.approx([0.2, 0.1707107, 0.1, 0.0292893])


def test_a_fit_that_learns_nothing_begins_anew_with_other_weights(toy: Toy) -> None:
    rules = StopRules(
        max_train_accuracy=None,
        saturation_window=None,
        divergence_every=2,
        divergence_accuracy=1.0,
    )
    trainer = quick(epochs=5, stopping=rules, optimizer=SGD(lr=1e-6, momentum=0.0, weight_decay=0))
    report = trainer.fit(toy.task())
    assert [line["restarted"] for line in lines(toy.root / "attempt-1")] == [0, 1, 0, 1, 0]
    assert report.notes["restarts"] == "2"
    # Hardly moved from the third drawing of weights.
    fitted, _ = load_learner(report.checkpoint)
    third = build_network(fitted.plan, generator(7, "init", 2))
    torch.testing.assert_close(
        fitted.head.linear.weight, third.head.linear.weight, atol=1e-4, rtol=0
    )


def test_fresh_weights_are_trained_on(toy: Toy) -> None:
    rules = StopRules(max_train_accuracy=None, divergence_every=1, divergence_accuracy=1.0)
    report = quick(epochs=2, stopping=rules, optimizer=SGD(lr=0.05)).fit(toy.task())
    assert report.notes["restarts"] == "1"
    fitted, _ = load_learner(report.checkpoint)
    second = build_network(fitted.plan, generator(7, "init", 1))
    moved = fitted.head.linear.weight - second.head.linear.weight
    assert moved.abs().max() > 1e-3


def test_a_loss_that_is_not_finite_ends_the_fit_with_a_way_out(toy: Toy) -> None:
    with pytest.raises(TrainingError, match=r"in epoch \d+ at learning rate .*lower trainer"):
        quick(epochs=20, optimizer=SGD(lr=1e20)).fit(toy.task())


def test_the_best_epoch_is_the_first_of_the_best_on_validation(toy: Toy) -> None:
    report = quick(epochs=16, batch_size=8, optimizer=SGD(lr=0.02)).fit(toy.task())
    looked = [line["validation"] for line in lines(toy.root / "attempt-1")]
    assert looked.count(max(looked)) > 1
    assert report.metrics["best/epoch"] == looked.index(max(looked)) + 1 < 16
    assert report.metrics["best/validation/balanced_accuracy"] == max(looked)
    assert report.metrics["validation/balanced_accuracy"] == looked[-1]


def test_the_best_checkpoint_holds_the_model_of_the_best_epoch(toy: Toy) -> None:
    trainer = quick(epochs=16, batch_size=8, optimizer=SGD(lr=0.02))
    report = trainer.fit(toy.task())
    best, test = toy.root / "attempt-1" / "best.pt", toy.examples(96, 160)
    task = toy.predict_task(best, "log_probs", rows=test.rows)
    log_probs = np.load(trainer.predict(task).files["log_probs"])
    nll = -log_probs[np.arange(64), test.labels].mean()
    assert nll == pytest.approx(report.metrics["best/test/nll"])
    assert nll != pytest.approx(report.metrics["test/nll"], rel=1e-3)


def test_validation_is_looked_at_as_often_as_asked_and_at_the_end(toy: Toy) -> None:
    quick(epochs=5, validate_every=2).fit(toy.task())
    looked = [line["validation"] is not None for line in lines(toy.root / "attempt-1")]
    assert looked == [False, True, False, True, True]


def test_looking_at_the_validation_set_does_not_change_the_weights(toy: Toy) -> None:
    with_it = quick().fit(toy.task("with"))
    without = quick().fit(toy.task("without", validation=toy.examples(0, 0)))
    assert with_it.checkpoint_digest == without.checkpoint_digest


def test_the_seed_decides(toy: Toy) -> None:
    one, other = quick().fit(toy.task("one")), quick().fit(toy.task("other", seed=8))
    assert one.initial_digest != other.initial_digest
    assert one.checkpoint_digest != other.checkpoint_digest


@pytest.mark.parametrize("setting", [{"dropout": 0.5}, {"augmentation": ResizedCrop()}])
def test_chance_in_training_comes_from_the_seed_alone(toy: Toy, setting: dict[str, object]) -> None:
    digests = {quick(**setting).fit(toy.task(name)).checkpoint_digest for name in ("a", "b")}
    assert len(digests) == 1
    assert quick().fit(toy.task("c")).checkpoint_digest not in digests


def test_how_many_views_are_made_at_once_changes_nothing(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_at_once = quick().fit(toy.task("all")).checkpoint_digest
    monkeypatch.setattr("trainers.deep.epoch.VIEWS_AT_A_TIME", 1)
    assert quick().fit(toy.task("one")).checkpoint_digest == all_at_once


def test_bfloat16_learns_as_well_and_keeps_float32_weights(toy: Toy) -> None:
    compute = Compute(precision="bfloat16")
    report = quick(epochs=8, batch_size=8, optimizer=SGD(lr=0.02), compute=compute).fit(toy.task())
    assert report.metrics["test/accuracy"] > 0.7
    assert report.notes["precision"] == "bfloat16"
    network, _ = load_learner(report.checkpoint)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_colour_images_are_learnt(make_toy: Callable[..., Toy]) -> None:
    toy = make_toy(channels=3)
    report = quick(epochs=8, batch_size=8, optimizer=SGD(lr=0.02)).fit(toy.task())
    assert report.metrics["test/accuracy"] > 0.7


def test_nothing_of_the_way_is_left_when_a_fit_is_done(toy: Toy) -> None:
    quick(checkpoint_every_s=0).fit(toy.task())
    names = {path.name for path in (toy.root / "attempt-1").iterdir()}
    assert names == {"checkpoint.pt", "best.pt", "metrics.jsonl", "test_predictions.npz"}


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(7, 3, [3, 4]), (6, 3, [3, 3]), (8, 3, [3, 3, 2]), (1, 3, [1]), (2, 3, [2]), (3, 1, [1] * 3)],
)
def test_a_last_minibatch_of_one_joins_the_one_before(
    count: int, size: int, sizes: list[int]
) -> None:
    assert minibatch_sizes(count, size) == sizes


def test_the_grid_of_scoring_depends_on_the_size_of_images_alone() -> None:
    sizes = (8, 48, 96, 112, 224, 1000)
    assert [block_size((n, n, 1), "cpu") for n in sizes] == [512, 64, 16, 16, 16, 16]
    assert [block_size((n, n, 1), "cuda:0") for n in sizes] == [512, 256, 64, 64, 16, 16]


def test_rows_in_any_order_keep_their_labels(toy: Toy) -> None:
    rows = np.random.default_rng(0).permutation(64)
    shuffled = Examples(rows, toy.labels[rows])
    trainer = quick(epochs=8, batch_size=8, optimizer=SGD(lr=0.02))
    assert trainer.fit(toy.task(labelled=shuffled)).metrics["test/accuracy"] > 0.7
