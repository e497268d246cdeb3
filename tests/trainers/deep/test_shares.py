"""Shares of votes as what training aims at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from trainers import Ensemble, FERClassifier, LinearProbe, TrainingError
from trainers.deep.compute import Mode
from trainers.deep.ensemble import _drawn
from trainers.deep.epoch import _pass
from trainers.deep.networks import Plan, build_network
from trainers.deep.progress import identity_of
from trainers.deep.seeding import generator

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = {"name": "resnet10_narrow", "width": 4}
SMALL: dict[str, Any] = {"encoder": NARROW, "batch_size": 16, "epochs": 4}
FLOAT32 = Mode(precision="float32", channels_last=False, threads=1)
VOTES = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5]])


def one_hot(labels: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows: np.ndarray[Any, np.dtype[np.float32]] = np.eye(3, dtype=np.float32)[labels]
    return rows


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("crops", [1, 10])
def test_the_loss_is_the_cross_entropy_to_the_shares_smoothed_and_of_every_crop(
    smoothing: float, crops: int
) -> None:
    plan = Plan("resnet10_narrow", 4, 1, 3, 0.0)
    if crops == 10:
        plan = Plan("vgg_fer", 2, 1, 3, 0.0, crop=40)
    network = build_network(plan, generator(0, "weights")).eval()
    images = torch.randn(2, 1, 48, 48, generator=generator(1, "images"))
    trainer = FERClassifier.model_validate({**SMALL, "label_smoothing": smoothing})

    with torch.no_grad():
        network.train(crops == 10)
        passed = _pass(network, trainer, FLOAT32, images, VOTES)
    log_probs = passed.logits.double().log_softmax(1)
    assert len(log_probs) == 2 * crops
    aims = ((1 - smoothing) * VOTES + smoothing / 3).double()
    rows = [image for image in range(2) for _ in range(crops)]
    by_hand = -sum((aims[i] * log_probs[row]).sum() for row, i in enumerate(rows)) / len(rows)
    assert passed.loss.item() == pytest.approx(float(by_hand), abs=1e-5)


def test_training_aims_at_the_shares_and_is_measured_by_the_labels(toy: Toy) -> None:
    labelled = toy.examples(0, 64)
    elsewhere = one_hot((labelled.labels + 1) % 3)
    trainer = FERClassifier.model_validate(
        {
            **SMALL,
            "encoder": {**NARROW, "width": 8},
            "epochs": 20,
            "optimizer": {"name": "sgd", "lr": 0.05},
            "augmentation": {"name": "pad_crop", "padding": 0},
            "sam": {"rho": 0.05},
        }
    )

    honest = trainer.fit(toy.task("labels", labelled=labelled))
    led = trainer.fit(toy.task("shares", labelled=replace(labelled, shares=elsewhere)))
    assert honest.metrics["test/accuracy"] > 0.9
    assert led.metrics["test/accuracy"] < 0.1
    assert led.metrics["train/accuracy"] < 0.4
    assert led.metrics["train/loss"] < 1.0  # and yet it learns what it is told


def test_shares_of_one_class_each_are_its_labels(toy: Toy) -> None:
    labelled = toy.examples(0, 64)
    trainer = FERClassifier.model_validate(SMALL)

    by_labels = trainer.fit(toy.task("labels", labelled=labelled))
    shares = one_hot(labelled.labels)
    by_shares = trainer.fit(toy.task("shares", labelled=replace(labelled, shares=shares)))
    for name, value in by_labels.metrics.items():
        assert by_shares.metrics[name] == pytest.approx(value, abs=1e-3), name


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        (LinearProbe.model_validate({"encoder": NARROW}), "take fer_classifier"),
        (FERClassifier.model_validate({**SMALL, "center_loss": {}}), "center_loss draws"),
        (
            Ensemble.model_validate(
                {"bootstrap": True, "member": {"name": "linear_probe", "encoder": NARROW}}
            ),
            "linear_probe learns from one label",
        ),
    ],
    ids=["probe", "center loss", "ensemble of probes"],
)
def test_who_needs_one_class_a_sample_says_so(
    trainer: FERClassifier | LinearProbe | Ensemble, words: str, toy: Toy
) -> None:
    labelled = toy.examples(0, 64)

    with pytest.raises(TrainingError, match=words):
        trainer.fit(toy.task(labelled=replace(labelled, shares=one_hot(labelled.labels))))


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (np.full((64, 2), 0.5, np.float32), r"are \(64, 2\), and must be \(64, 3\)"),
        (np.full((64, 3), 0.5, np.float32), "sum to 1"),
        (np.tile(np.array([1.5, -0.5, 0.0], np.float32), (64, 1)), "not be below 0"),
        (np.full((64, 3), np.nan, np.float32), "sum to 1"),
    ],
    ids=["shape", "sum", "negative", "nan"],
)
def test_what_are_no_shares_is_refused(
    shares: np.ndarray[Any, np.dtype[np.float32]], words: str, toy: Toy
) -> None:
    trainer, labelled = FERClassifier.model_validate(SMALL), toy.examples(0, 64)

    with pytest.raises(TrainingError, match=words):
        trainer.fit(toy.task(labelled=replace(labelled, shares=shares)))


def test_a_bootstrap_sample_keeps_the_shares_of_its_images(toy: Toy) -> None:
    labelled = toy.examples(0, 64)
    drawn = _drawn(replace(labelled, shares=one_hot(labelled.labels)), seed=3)

    assert drawn.shares is not None
    assert len(np.unique(drawn.rows)) < 64
    np.testing.assert_array_equal(drawn.shares.argmax(1), drawn.labels)


def test_a_fit_with_other_shares_is_another_fit(toy: Toy) -> None:
    trainer, labelled = FERClassifier.model_validate(SMALL), toy.examples(0, 64)
    by_labels = toy.task(labelled=labelled)
    shares = one_hot(labelled.labels)
    tasks = [
        by_labels,
        replace(by_labels, labelled=replace(labelled, shares=shares)),
        replace(by_labels, labelled=replace(labelled, shares=shares[::-1].copy())),
    ]

    assert len({identity_of(trainer, task) for task in tasks}) == 3
