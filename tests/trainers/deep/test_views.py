from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from trainers.deep.seeding import generator
from trainers.deep.views import views_of
from trainers.recipes import PadCrop, ResizedCrop

pytestmark = pytest.mark.torch


def random_pixels(count: int, height: int, width: int, channels: int = 1, seed: int = 0) -> Tensor:
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


def test_a_shift_brings_in_black_and_a_flip_mirrors() -> None:
    pixels = torch.tensor([[[[1, 2], [3, 4]]]] * 3, dtype=torch.uint8)
    views = views_of(PadCrop(padding=1), (2, 2))
    draws = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 2, 1]])
    seen = views.apply(pixels, draws)
    assert seen[0, 0].tolist() == [[1, 2], [3, 4]]
    assert seen[1, 0].tolist() == [[0, 0], [1, 2]]
    assert seen[2, 0].tolist() == [[0, 2], [0, 4]]


@given(st.integers(0, 2**31), st.integers(0, 5), st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_pad_crop_equals_cutting_one_image_at_a_time(
    seed: int, padding: int, channels: int
) -> None:
    pixels = random_pixels(4, 6, 9, channels, seed)
    views = views_of(PadCrop(padding=padding), (6, 9))
    draws = views.draw(4, generator(seed))
    seen = views.apply(pixels, draws)
    for n, (top, left, flip) in enumerate(draws.tolist()):
        framed = np.pad(pixels[n].numpy(), ((0, 0), (padding, padding), (padding, padding)))
        window = framed[:, top : top + 6, left : left + 9]
        assert (seen[n].numpy() == (window[:, :, ::-1] if flip else window)).all()


def test_pad_crop_draws_every_shift_and_both_mirror_images() -> None:
    draws = views_of(PadCrop(padding=2), (8, 8)).draw(2000, generator(0))
    assert sorted(set(draws[:, 0].tolist())) == [0, 1, 2, 3, 4]
    assert sorted(set(draws[:, 1].tolist())) == [0, 1, 2, 3, 4]
    assert draws[:, 2].float().mean() == pytest.approx(0.5, abs=0.05)


def test_without_padding_and_flip_a_view_is_the_image() -> None:
    pixels = random_pixels(3, 5, 5)
    views = views_of(PadCrop(padding=0, flip=False), (5, 5))
    assert torch.equal(views.apply(pixels, views.draw(3, generator(0))), pixels)


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    pixels = random_pixels(2, 7, 5)
    seen = views_of(ResizedCrop(), (7, 5)).apply(pixels, torch.tensor([[0, 0, 7, 5, 0]] * 2))
    assert torch.equal(seen, pixels.float())


def test_a_pixel_blown_up_fills_the_view() -> None:
    pixels = random_pixels(1, 4, 4)
    seen = views_of(ResizedCrop(), (4, 4)).apply(pixels, torch.tensor([[2, 1, 1, 1, 0]]))
    assert (seen == float(pixels[0, 0, 2, 1])).all()


@given(st.integers(0, 2**31), st.integers(6, 20), st.integers(6, 20))
@settings(max_examples=40, deadline=None)
def test_resized_crops_equal_pillow_within_a_grey_level(seed: int, height: int, width: int) -> None:
    pixels = random_pixels(3, height, width, seed=seed)
    views = views_of(ResizedCrop(), (height, width))
    draws = views.draw(3, generator(seed))
    seen = views.apply(pixels, draws)
    for n, (top, left, h, w, flip) in enumerate(draws.tolist()):
        part = Image.fromarray(pixels[n, 0].numpy()).crop((left, top, left + w, top + h))
        # Pillow rounds after each axis, so half a level twice.
        slow = np.asarray(part.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
        assert np.abs(seen[n, 0].numpy() - (slow[:, ::-1] if flip else slow)).max() <= 1.001


def test_resized_crops_keep_the_bounds_of_area_aspect_and_image() -> None:
    views = views_of(ResizedCrop(min_area=0.3, max_aspect=1.5), (40, 60))
    top, left, height, width, _ = views.draw(3000, generator(0)).unbind(1)
    area = (height * width).double() / 2400
    # Sides are rounded to whole pixels.
    assert 0.28 <= area.min() < 0.33
    assert 0.9 < area.max() <= 1
    is_whole = (height == 40) & (width == 60)
    aspect = (width.double() / height)[~is_whole]
    assert aspect.min() >= 1 / 1.56
    assert aspect.max() <= 1.56
    assert bool((top >= 0).all() & (left >= 0).all())
    assert bool((top + height <= 40).all() & (left + width <= 60).all())
    assert (left + width).max() == 60


def test_the_area_of_crops_is_uniform() -> None:
    views = views_of(ResizedCrop(min_area=0.2, max_aspect=1.0), (100, 100))
    _, _, height, width, _ = views.draw(4000, generator(0)).unbind(1)
    area = (height * width).double().sort().values / 10_000
    expected = torch.linspace(0.2, 1.0, 4000, dtype=torch.float64)
    assert (area - expected).abs().max() < 0.04


def test_where_no_try_fits_the_whole_image_is_taken() -> None:
    # A part of nearly all the area of so flat an image cannot be twice as high.
    views = views_of(ResizedCrop(min_area=0.99, max_aspect=1.0), (4, 100))
    draws = views.draw(5, generator(0))
    assert draws[:, :4].tolist() == [[0, 0, 4, 100]] * 5


@pytest.mark.parametrize("augmentation", [PadCrop(), ResizedCrop()])
def test_equal_generators_draw_equally_and_others_do_not(
    augmentation: PadCrop | ResizedCrop,
) -> None:
    views = views_of(augmentation, (16, 16))
    first, again, other = (views.draw(50, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
