"""Noise has the declared statistics, and hangs on nothing but its generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from pydantic import ValidationError

from trainers import FERClassifier
from trainers.deep.noise import with_noise
from trainers.deep.seeding import generator
from trainers.recipes import Noise

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

POSTER = Noise()
GREY = torch.full((800, 3, 16, 16), 128, dtype=torch.uint8)


def test_a_quarter_of_the_images_gets_noise_of_variance_30() -> None:
    seen = with_noise(GREY, POSTER, generator(0, "noise"))
    assert seen.dtype == torch.float32
    added = seen - 128
    is_noisy = added.flatten(1).any(1)
    share = is_noisy.double().mean().item()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 800) ** 0.5
    noise = added[is_noisy].double()
    count = noise.numel()
    assert abs(noise.mean().item()) < 4 * (30 / count) ** 0.5
    assert abs(noise.var().item() - 30) < 4 * 30 * (2 / count) ** 0.5
    kurtosis = (noise**4).mean().item() / noise.var().item() ** 2
    assert abs(kurtosis - 3) < 4 * (24 / count) ** 0.5  # normal, and not of any other shape
    assert not added[~is_noisy].any()


def test_pixels_channels_and_images_have_noise_of_their_own() -> None:
    noise = with_noise(GREY, Noise(share=1.0), generator(1, "noise")) - 128
    count = len(GREY) * 16 * 16
    pairs = [(noise[:, 0], noise[:, 1]), (noise[:-1], noise[1:]), (noise[..., :-1], noise[..., 1:])]
    for one, other in pairs:
        assert abs((one * other).mean().item() / 30) < 4 / (one.numel() ** 0.5)
    assert abs(noise[:, 0].mean().item()) < 4 * (30 / count) ** 0.5


def test_what_leaves_the_range_of_pixels_is_clipped() -> None:
    dark, bright = torch.zeros(40, 1, 8, 8), torch.full((40, 1, 8, 8), 255.0)
    for pixels in (dark, bright):
        before = pixels.clone()
        seen = with_noise(pixels, Noise(share=1.0), generator(2, "noise"))
        assert torch.equal(pixels, before)  # the images themselves stay
        assert (seen >= 0).all()
        assert (seen <= 255).all()
        half = (seen == before).double().mean().item()
        assert abs(half - 0.5) < 0.05


@pytest.mark.parametrize("sizes", [[7] * 4, [1, 27], [20, 8]])
def test_images_get_the_same_noise_however_many_come_at_once(sizes: list[int]) -> None:
    images = torch.randint(0, 256, (28, 1, 5, 7), dtype=torch.uint8, generator=generator(0))
    together = with_noise(images, Noise(share=0.5), generator(3, "noise"))
    rng = generator(3, "noise")
    parts = [with_noise(part, Noise(share=0.5), rng) for part in torch.split(images, sizes)]
    assert torch.equal(torch.cat(parts), together)
    assert not torch.equal(together, images.float())
    other = with_noise(images, Noise(share=0.5), generator(4, "noise"))
    assert not torch.equal(together, other)


def fitted(toy: Toy, folder: str, **fields: Any) -> str:
    narrow = {"name": "resnet10_narrow", "width": 4}
    trainer = FERClassifier.model_validate(
        {"epochs": 2, "batch_size": 16, "encoder": narrow, **fields}
    )
    return trainer.fit(toy.task(folder)).checkpoint_digest


def test_noise_reaches_the_network_by_the_seed_alone(toy: Toy) -> None:
    noisy = {"noise": {"share": 1.0, "variance": 3000.0}}
    plain = fitted(toy, "plain")
    assert fitted(toy, "noisy", **noisy) != plain
    before = torch.random.get_rng_state()
    assert fitted(toy, "again", **noisy) == fitted(toy, "noisy-2", **noisy)
    assert torch.equal(torch.random.get_rng_state(), before)
    # Nothing else is drawn differently for it: noise too weak for a float changes no weight.
    faint = {"noise": {"share": 1.0, "variance": 1e-30}}
    assert fitted(toy, "faint", **faint) == plain


@pytest.mark.parametrize("fields", [{"share": 0.0}, {"share": 1.5}, {"variance": 0.0}])
def test_noise_that_is_none_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FERClassifier.model_validate({"noise": fields})
