"""Saliency is what can be worked out on paper, for one image as for many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from trainers import Ensemble, FERClassifier, Saliency, Trainer, TrainingError
from trainers.base import SaliencyMethod
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.networks import load_learner
from trainers.deep.saliency import class_activation_maps, gradient_maps, smooth_gradient_maps
from trainers.deep.seeding import generator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

METHODS: tuple[SaliencyMethod, ...] = ("gradient", "smoothgrad", "gradcam")
NARROW = {"name": "resnet10_narrow", "width": 4}
IMAGES = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(3))
CLASSES = torch.tensor([0, 2, 1])


class Linear(nn.Module):
    """Logits are sums of pixels times weights (C, Ch, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(4))

    def forward(self, images: Tensor) -> Tensor:
        return torch.einsum("bxhw,cxhw->bc", images, self.weight)


class Squares(nn.Module):
    """Two logits: the sum of squares, and nothing."""

    def forward(self, images: Tensor) -> Tensor:
        squares = images.square().sum((1, 2, 3))
        return torch.stack([squares, 0 * squares], dim=1)


class Channels(nn.Module):
    """A map of x and -2x, then its mean, then two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -2.0]).view(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[3.0, 1.0], [0.0, 4.0]]))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(images).mean((2, 3)))
        return logits


def test_the_gradient_of_a_linear_network_is_its_weights() -> None:
    network = Linear()
    maps = gradient_maps(network, IMAGES, CLASSES)
    assert torch.equal(maps, network.weight[CLASSES].abs().amax(1))


def test_smoothgrad_of_a_linear_network_is_its_gradient() -> None:
    network = Linear()
    maps = smooth_gradient_maps(network, IMAGES, CLASSES, Saliency(samples=7), 0, 3)
    torch.testing.assert_close(maps, gradient_maps(network, IMAGES, CLASSES))


def test_smoothgrad_averages_gradients_before_their_size_is_taken() -> None:
    how = Saliency(samples=5, noise=0.3)
    classes = torch.zeros(3, dtype=torch.int64)
    maps = smooth_gradient_maps(Squares(), IMAGES, classes, how, 11, 2)
    draws = torch.randn(5, 2, 4, 5, generator=generator(11, "smoothgrad")).mean(0)
    for image, found in zip(IMAGES, maps, strict=True):
        span = image.max() - image.min()
        # The gradient of the squares is 2x, so its mean is that of the mean noisy copy.
        expected = (2 * (image + 0.3 * span * draws)).abs().amax(0)
        torch.testing.assert_close(found, expected)


def test_grad_cam_weighs_channels_by_their_mean_gradient_and_cuts_at_zero() -> None:
    network = Channels()
    image = torch.tensor([[[[1.0, -2.0], [0.0, 4.0]]]])
    maps = class_activation_maps(
        network, network.conv, image.expand(2, -1, -1, -1), torch.tensor([0, 1])
    )
    # Over four places the gradients are (3, 1)/4 and (0, 4)/4: (3x - 2x)/4, and -8x/4.
    assert maps[0].tolist() == [[0.25, 0.0], [0.0, 1.0]]
    assert maps[1].tolist() == [[0.0, 4.0], [0.0, 0.0]]


def explained(
    trainer: Trainer, toy: Toy, checkpoint: Path, how: Saliency, folder: str, **changes: Any
) -> npt.NDArray[np.float32]:
    task = toy.predict_task(checkpoint, "saliency", folder=folder, saliency=how, **changes)
    maps: npt.NDArray[np.float32] = np.load(trainer.predict(task).files["saliency"])
    return maps


@pytest.fixture
def trainer() -> FERClassifier:
    return FERClassifier.model_validate({"epochs": 2, "batch_size": 16, "encoder": NARROW})


@pytest.mark.parametrize("method", METHODS)
def test_many_images_are_explained_as_each_is_alone(
    method: SaliencyMethod, trainer: FERClassifier, toy: Toy
) -> None:
    report = trainer.fit(toy.task())
    before = report.checkpoint.read_bytes()
    how, rows = Saliency(method, samples=4), np.array([100, 3, 57])
    together = explained(trainer, toy, report.checkpoint, how, "all", rows=rows)
    assert together.shape == (3, 12, 12)
    assert together.dtype == np.float32
    assert (together >= 0).all()
    assert (together.reshape(3, -1).max(1) > 0).all()
    for row, found in zip(rows, together, strict=True):
        alone = explained(trainer, toy, report.checkpoint, how, f"{row}", rows=np.array([row]))
        np.testing.assert_allclose(alone[0], found, rtol=1e-4, atol=1e-6 * found.max())
    assert report.checkpoint.read_bytes() == before


def test_the_gradient_is_that_of_the_logit_the_learner_answers_with(
    trainer: FERClassifier, toy: Toy
) -> None:
    report = trainer.fit(toy.task())
    rows = np.arange(5)
    found = explained(trainer, toy, report.checkpoint, Saliency(), "found", rows=rows)
    network, _ = load_learner(report.checkpoint)
    pixels = Pixels(toy.images, rows, "cpu").take(torch.arange(5))
    images = Normaliser(toy.images, "cpu")(pixels).requires_grad_()
    (slope,) = torch.autograd.grad(network.eval()(images)[0].max(1).values.sum(), images)
    np.testing.assert_allclose(found, slope.abs()[:, 0].numpy(), rtol=1e-3, atol=1e-6)


def test_no_global_generator_is_read_or_changed_by_smoothgrad(
    trainer: FERClassifier, toy: Toy
) -> None:
    checkpoint = trainer.fit(toy.task()).checkpoint
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        how = Saliency("smoothgrad", samples=3)
        found.append(explained(trainer, toy, checkpoint, how, f"{seed}", rows=np.arange(2)))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert (found[0] == found[1]).all()


def fitted_on(make_toy: Callable[..., Toy], size: int, **fields: Any) -> tuple[Any, Toy, Path]:
    toy = make_toy(size=size)
    trainer = FERClassifier.model_validate({"epochs": 1, **fields})
    nothing = toy.examples(0, 0)
    task = toy.task(labelled=toy.examples(0, 8), validation=nothing, test=nothing)
    return trainer, toy, trainer.fit(task).checkpoint


@pytest.mark.parametrize(
    "encoder", [{"name": "resnet18"}, {"name": "poster_v2_narrow", "width": 8}]
)
def test_other_networks_are_explained_too(
    encoder: dict[str, Any], make_toy: Callable[..., Toy]
) -> None:
    trainer, toy, checkpoint = fitted_on(make_toy, 32, encoder=encoder)
    for method in METHODS:
        how = Saliency(method, samples=2)
        maps = explained(trainer, toy, checkpoint, how, method, rows=np.arange(2))
        assert maps.shape == (2, 32, 32)
        assert (maps >= 0).all()
        assert np.isfinite(maps).all()
        assert method == "gradcam" or (maps > 0).any()  # where all speaks against, all is cut off


def test_grad_cam_is_refused_where_the_last_map_has_no_places(
    make_toy: Callable[..., Toy],
) -> None:
    encoder = {"name": "poster_v1_narrow", "width": 8}
    trainer, toy, checkpoint = fitted_on(make_toy, 32, encoder=encoder)
    maps = explained(trainer, toy, checkpoint, Saliency(), "gradient", rows=np.arange(2))
    assert (maps > 0).any()
    with pytest.raises(TrainingError, match="poster_v1_narrow has no last map"):
        explained(trainer, toy, checkpoint, Saliency("gradcam"), "cam", rows=np.arange(2))


def test_a_learner_with_crops_is_explained_on_the_central_one(
    make_toy: Callable[..., Toy],
) -> None:
    encoder = {"name": "vgg_fer", "width": 4}
    trainer, toy, checkpoint = fitted_on(make_toy, 48, encoder=encoder, crops={"size": 40})
    maps = {}
    for method in METHODS:
        how = Saliency(method, samples=2)
        maps[method] = explained(trainer, toy, checkpoint, how, method, rows=np.arange(3))
        outside = maps[method].copy()
        outside[:, 4:44, 4:44] = 0
        assert not outside.any()
        assert method == "gradcam" or maps[method].any()
    network, _ = load_learner(checkpoint)
    pixels = Pixels(toy.images, np.arange(3), "cpu").take(torch.arange(3))
    images = Normaliser(toy.images, "cpu")(pixels)
    with torch.no_grad():
        answers = network.eval()(images)[0].argmax(1)  # of all ten crops
    crop = images[..., 4:44, 4:44].requires_grad_()
    logits = network.head(network.encoder(crop))
    (slope,) = torch.autograd.grad(logits.gather(1, answers[:, None]).sum(), crop)
    found = maps["gradient"][:, 4:44, 4:44]
    np.testing.assert_allclose(found, slope.abs()[:, 0].numpy(), rtol=1e-3, atol=1e-7)


def test_what_cannot_be_explained_is_refused(toy: Toy) -> None:
    with pytest.raises(TrainingError, match="told in several ways"):
        toy.predict_task(toy.root / "checkpoint.pt", "saliency")
    with pytest.raises(TrainingError, match="1 sample and more"):
        Saliency("smoothgrad", samples=0)
    several = Ensemble.model_validate({"member": {"name": "fer_classifier", "encoder": NARROW}})
    task = replace(
        toy.predict_task(toy.root / "checkpoint.pt", "log_probs", folder="several"),
        outputs=frozenset({"saliency"}),
        saliency=Saliency(),
    )
    with pytest.raises(TrainingError, match="an ensemble is several"):
        several.predict(task)


def test_the_last_map_of_poster_is_all_its_transformer_is_given() -> None:
    from trainers.deep.networks import Plan, build_network

    network = build_network(Plan("poster_v2_narrow", 8, 3, 3, 0.0), generator(0)).eval()
    seen: list[Tensor] = []
    network.encoder.last_map.register_forward_hook(lambda *io: seen.append(io[2]))  # type: ignore[union-attr]
    network(torch.zeros(2, 3, 32, 32))
    assert [tuple(each.shape) for each in seen] == [(2, 3 * 32, 2, 2)]
