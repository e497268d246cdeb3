"""Views of whole minibatches are those torchvision makes of single images."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms.v2 import functional as one_by_one

from trainers.augmentations import ContrastiveViews
from trainers.deep.pair_views import (
    RandomViews,
    blurred,
    brightened,
    contrasted,
    greyed,
    hue_turned,
    resized_crop,
    saturated,
)

pytestmark = pytest.mark.torch


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(count: int, channels: int, size: int = 48) -> Tensor:
    shape = (count, channels, size, size)
    return torch.randint(0, 256, shape, generator=rng(), dtype=torch.uint8)


BOXES = [(0, 0, 48, 48), (5, 7, 30, 22), (0, 20, 12, 28), (31, 3, 17, 40), (10, 10, 1, 1)]


@pytest.mark.parametrize("size", [48, 24, 17, 64])
@pytest.mark.parametrize("box", BOXES)
def test_a_crop_is_resized_as_torchvision_does(box: tuple[int, ...], size: int) -> None:
    images = pixels(2, 3)
    boxes = torch.tensor([box, box], dtype=torch.float64)
    ours = resized_crop(images, boxes, (size, size), torch.tensor([False, True]))
    theirs = one_by_one.resized_crop(images.float(), *box, size=[size, size], antialias=True)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0.05)
    torch.testing.assert_close(ours[1], theirs[1].flip(-1), rtol=0, atol=0.05)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_colours_change_as_torchvision_changes_them(factor: float) -> None:
    images = pixels(3, 3).float()
    factors = torch.full((3,), factor)
    as_shares = images / 255
    for ours, theirs in (
        (brightened(images, factors), one_by_one.adjust_brightness(as_shares, factor)),
        (contrasted(images, factors), one_by_one.adjust_contrast(as_shares, factor)),
        (saturated(images, factors), one_by_one.adjust_saturation(as_shares, factor)),
    ):
        # Their grey weights have one digit less.
        torch.testing.assert_close(ours / 255, theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.2, 0.37])
def test_hue_turns_as_in_torchvision(shift: float) -> None:
    images = pixels(3, 3).float()
    images[0] = images[0, :1]  # grey: it has no hue
    ours = hue_turned(images, torch.full((3,), shift))
    theirs = one_by_one.adjust_hue(images / 255, shift)
    torch.testing.assert_close(ours / 255, theirs, rtol=0, atol=1e-4)


def test_grey_is_the_weighted_mean() -> None:
    images = pixels(2, 3).float()
    torch.testing.assert_close(
        greyed(images) / 255, one_by_one.rgb_to_grayscale(images / 255), rtol=0, atol=2e-4
    )
    assert greyed(images[:, :1]) is not None
    assert torch.equal(greyed(images[:, :1]), images[:, :1])


def test_blur_is_a_gaussian_of_each_images_own_deviation() -> None:
    images = pixels(3, 3).float()
    ours = blurred(images, torch.tensor([0.0, 0.7, 2.0]), kernel=5)
    torch.testing.assert_close(ours[0], images[0])
    for row, sigma in ((1, 0.7), (2, 2.0)):
        theirs = one_by_one.gaussian_blur(images[row], [5, 5], [sigma, sigma])
        torch.testing.assert_close(ours[row], theirs, rtol=1e-4, atol=1e-2)


FULL = ContrastiveViews(blur=0.5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 24])
def test_a_view_does_not_hang_on_its_neighbours(channels: int, size: int | None) -> None:
    views = RandomViews(FULL.model_copy(update={"size": size}), (48, 48, channels))
    images = pixels(64, channels)
    draws = views.draw(64, rng())
    whole = views.apply(images, draws)
    assert whole.shape == (64, channels, *views.size)
    assert whole.dtype == torch.float32
    assert float(whole.min()) >= -1e-2
    assert float(whole.max()) <= 255.01
    parts = [views.apply(images[i : i + 7], draws[i : i + 7]) for i in range(0, 64, 7)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-2)


def test_equal_seeds_draw_equally_and_the_global_generator_is_left_alone() -> None:
    views = RandomViews(FULL, (48, 48, 3))
    before = torch.random.get_rng_state()
    assert torch.equal(views.draw(100, rng(3)), views.draw(100, rng(3)))
    assert not torch.equal(views.draw(100, rng(3)), views.draw(100, rng(4)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_shares_of_flipped_jittered_grey_and_blurred_images_are_as_set() -> None:
    count = 20_000
    draws = RandomViews(FULL, (48, 48, 3)).draw(count, rng())
    for column, share in ((4, 0.5), (5, 0.8), (10, 0.2)):
        found = float(draws[:, column].mean())
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / count), column
    assert abs(float((draws[:, 11] > 0).double().mean()) - 0.5) < 0.02
    assert 0.6 <= float(draws[:, 6].min()) < 0.61
    assert 1.39 < float(draws[:, 6].max()) <= 1.4
    assert float(draws[:, 9].abs().max()) <= 0.1


def test_boxes_lie_inside_and_their_areas_are_uniform() -> None:
    settings = ContrastiveViews(min_area=0.2, max_aspect=1.0)
    draws = RandomViews(settings, (100, 100, 1)).draw(20_000, rng())
    top, left, height, width = draws[:, :4].unbind(1)
    assert bool((top >= 0).all() & (left >= 0).all())
    assert bool((top + height <= 100).all() & (left + width <= 100).all())
    share = height * width / 10_000
    # Uniform between 0.2 and 1: mean 0.6, deviation 0.8 / sqrt(12).
    assert abs(float(share.mean()) - 0.6) < 4 * 0.8 / math.sqrt(12 * 20_000) + 0.002
    assert abs(float(share.std()) - 0.8 / math.sqrt(12)) < 0.005


def test_an_image_no_box_fits_into_is_taken_whole() -> None:
    settings = ContrastiveViews(min_area=1.0, max_aspect=4 / 3)
    draws = RandomViews(settings, (20, 100, 1)).draw(50, rng())
    assert {tuple(box) for box in draws[:, :4].tolist()} == {(0, 0, 20, 100)}


def test_what_is_switched_off_changes_nothing() -> None:
    off = ContrastiveViews(min_area=1, max_aspect=1, flip=False, jitter=0, grey=0)
    images = pixels(4, 3)
    views = RandomViews(off, (48, 48, 3))
    torch.testing.assert_close(views.apply(images, views.draw(4, rng())), images.float())


def test_jitter_leaves_the_other_images_alone() -> None:
    settings = ContrastiveViews(min_area=1, max_aspect=1, flip=False, jitter=0.5, grey=0)
    images = pixels(40, 3)
    views = RandomViews(settings, (48, 48, 3))
    draws = views.draw(40, rng())
    seen = views.apply(images, draws)
    same = [torch.allclose(a, b.float(), atol=1e-2) for a, b in zip(seen, images, strict=True)]
    assert same == (draws[:, 5] == 0).tolist()


@pytest.mark.parametrize(
    "fields",
    [
        {"min_area": 0.5, "max_area": 0.4},
        {"blur_sigma": (2.0, 1.0)},
        {"blur_sigma": (0.0, 1.0)},
        {"blur_kernel": 4},
        {"hue": 0.6},
        {"jitter": 1.5},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ContrastiveViews.model_validate(fields)
