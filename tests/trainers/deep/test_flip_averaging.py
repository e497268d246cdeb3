"""An image is scored with its mirror wherever a learner predicts, and trained on as ever."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trainers import FERClassifier, Images, Output, TrainReport
from trainers.deep.networks import Plan, build_network, load_learner
from trainers.deep.seeding import generator

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

PLAN = Plan("resnet10_narrow", 4, 1, 3, 0.0)
FIELDS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 16,
    "encoder": {"name": "resnet10_narrow", "width": 4},
}


def test_logits_are_the_mean_of_the_image_and_its_mirror_one_by_one() -> None:
    plain = build_network(PLAN, generator(0)).eval()
    both = build_network(replace(PLAN, mirrors=True), generator(0)).eval()
    images = torch.randn(4, 1, 12, 12, generator=generator(1))
    with torch.no_grad():
        together, embeddings = both(images)
        for image, logits, embedding in zip(images, together, embeddings, strict=True):
            one, other = plain(image[None]), plain(image[None].flip(-1))
            torch.testing.assert_close(logits, (one[0] + other[0])[0] / 2)
            torch.testing.assert_close(embedding, (one[1] + other[1])[0] / 2)
        torch.testing.assert_close(both(images.flip(-1))[0], together)
        assert not torch.equal(plain(images)[0], together)


def test_one_crop_is_mirrored_too() -> None:
    plain = build_network(PLAN, generator(0)).eval()
    both = build_network(replace(PLAN, crop=8, ten=False, mirrors=True), generator(0)).eval()
    images = torch.randn(2, 1, 12, 12, generator=generator(1))
    crop = images[..., 2:10, 2:10]
    with torch.no_grad():
        expected = (plain(crop)[0] + plain(crop.flip(-1))[0]) / 2
        torch.testing.assert_close(both(images)[0], expected)


def test_in_training_there_are_no_mirrors() -> None:
    images = torch.randn(4, 1, 12, 12, generator=generator(1))
    plain, both = (
        build_network(plan, generator(0)).train() for plan in (PLAN, replace(PLAN, mirrors=True))
    )
    assert torch.equal(plain(images)[0], both(images)[0])


def fitted(toy: Toy, name: str, **fields: Any) -> tuple[FERClassifier, TrainReport]:
    trainer = FERClassifier.model_validate({**FIELDS, **fields})
    return trainer, trainer.fit(toy.task(name))


def test_a_learner_trains_alike_and_is_measured_and_asked_with_mirrors(toy: Toy) -> None:
    _, plain = fitted(toy, "plain")
    trainer, both = fitted(toy, "both", flip_averaging=True)
    assert both.checkpoint_digest == plain.checkpoint_digest  # the weights are the same
    assert both.metrics["test/nll"] != plain.metrics["test/nll"]
    network, _ = load_learner(plain.checkpoint)
    test = toy.examples(96, 160)
    pixels = torch.from_numpy(np.load(toy.images.path)[test.rows]).permute(0, 3, 1, 2).float() / 255
    images = (pixels - toy.images.mean[0]) / toy.images.std[0]
    with torch.no_grad():
        one, other = (network.eval()(seen)[0] for seen in (images, images.flip(-1)))
    expected = ((one + other) / 2).log_softmax(1).numpy()
    assert both.test_predictions is not None
    with np.load(both.test_predictions) as left:
        np.testing.assert_allclose(left["log_probs"], expected, atol=1e-4)
    task = toy.predict_task(both.checkpoint, "log_probs", rows=test.rows)
    asked = np.load(trainer.predict(task).files["log_probs"])
    np.testing.assert_allclose(asked, expected, atol=1e-4)


def test_an_image_and_its_mirror_are_told_the_same(toy: Toy) -> None:
    trainer, report = fitted(toy, "both", flip_averaging=True)
    np.save(toy.root / "turned.npy", np.load(toy.images.path)[:, :, ::-1])
    there = Images(toy.root / "turned.npy", mean=toy.images.mean, std=toy.images.std)
    outputs: tuple[Output, ...] = ("log_probs", "embeddings")
    one = toy.predict_task(report.checkpoint, *outputs, folder="one")
    other = toy.predict_task(report.checkpoint, *outputs, folder="other", images=there)
    found, turned = trainer.predict(one).files, trainer.predict(other).files
    for name in outputs:
        np.testing.assert_allclose(np.load(found[name]), np.load(turned[name]), atol=1e-5)


def test_ten_crops_have_their_mirrors_already() -> None:
    with pytest.raises(ValidationError, match="five of the ten crops are mirrored already"):
        FERClassifier.model_validate({"crops": {"size": 8}, "flip_averaging": True})
    FERClassifier.model_validate({"crops": {"size": 8, "ten": False}, "flip_averaging": True})
