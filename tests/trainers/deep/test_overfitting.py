"""Each learner learns 32 images by heart: what cannot is broken somewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from trainers import FERClassifier, LinearProbe

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = {"name": "resnet10_narrow", "width": 4}
ADAM = {"name": "adam", "lr": 1e-3}
LEARNERS: dict[str, dict[str, Any]] = {
    "resnet": {"encoder": NARROW},
    "dacl": {"encoder": NARROW, "center_loss": {"kind": "attentive", "hidden": [48, 32, 16]}},
    "vgg": {
        "encoder": {"name": "vgg_fer", "width": 4},
        "crops": {"size": 40, "ten": False},
        "optimizer": ADAM,
    },
    "poster_v1": {"encoder": {"name": "poster_v1_narrow", "width": 4}, "optimizer": ADAM},
    "poster_v2": {"encoder": {"name": "poster_v2_narrow", "width": 8}, "optimizer": ADAM},
}
SETTINGS: dict[str, Any] = {
    "epochs": 15,
    "batch_size": 8,
    "schedule": "constant",
    "augmentation": {"name": "pad_crop", "padding": 0, "flip": False},
    "stopping": {"max_train_accuracy": None, "saturation_window": None, "divergence_every": None},
}


def accuracy_on_its_own(trainer: FERClassifier | LinearProbe, toy: Toy) -> float:
    """Of 32 images, in evaluation mode, after training on the same."""
    few = toy.examples(0, 32)
    none = toy.examples(0, 0)
    report = trainer.fit(toy.task(labelled=few, validation=none, test=few))
    return report.metrics["test/accuracy"]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_network_learns_32_images_by_heart(name: str, make_toy: Callable[..., Toy]) -> None:
    trainer = FERClassifier.model_validate({**SETTINGS, **LEARNERS[name]})
    toy = make_toy(size=40 if trainer.crops else 12)
    assert accuracy_on_its_own(trainer, toy) == 1.0


def test_a_probe_learns_32_images_by_heart(toy: Toy) -> None:
    probe = LinearProbe.model_validate({"encoder": NARROW, "l2": 1e-3})
    assert accuracy_on_its_own(probe, toy) == 1.0
