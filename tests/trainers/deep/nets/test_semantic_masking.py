"""Scores of patches against a slow twin, and how many patches stay visible."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainers.deep.losses.simfle import group_similarity, grouping
from trainers.deep.nets.facemae import FACE_MAE, FaceMAE, FaceMAEPlan, patchify
from trainers.deep.nets.semantic_masking import SemanticMasking, kept_tokens

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def masking(jitter: float = 0.01) -> SemanticMasking:
    module = SemanticMasking(8, 4)
    module.draw(torch.Generator().manual_seed(1), jitter)
    return module


def slow_score(grid: list[list[float]], size: int, patch: int, top: int, left: int) -> float:
    """The mean in one patch of a map blown up bilinearly, pixel centres at halves."""

    def along(pixel: int, cells: int) -> tuple[int, int, float]:
        place = max(0.0, (pixel + 0.5) * cells / size - 0.5)
        low = math.floor(place)
        return low, min(low + 1, cells - 1), place - low

    total = 0.0
    for y in range(top, top + patch):
        above, below, down = along(y, len(grid))
        for x in range(left, left + patch):
            west, east, right = along(x, len(grid[0]))
            upper = (1 - right) * grid[above][west] + right * grid[above][east]
            lower = (1 - right) * grid[below][west] + right * grid[below][east]
            total += (1 - down) * upper + down * lower
    return total / patch**2


@pytest.mark.parametrize("name", FACE_MAE)
def test_scores_are_those_of_a_slow_twin(name: str) -> None:
    plan = FACE_MAE[name](1)
    activations, group = drawn(2, 8, 4, 4).abs(), torch.tensor([3, 1])
    scores = masking().patch_scores(activations, group, plan.image_size, plan.side)
    assert scores.shape == (2, 49)
    for row, first in enumerate((6, 2)):
        grid = (activations[row, first] + activations[row, first + 1]).tolist()
        for patch in range(49):
            top, left = (plan.patch * place for place in divmod(patch, 7))
            expected = slow_score(grid, plan.image_size, plan.patch, top, left)
            assert float(scores[row, patch]) == pytest.approx(expected, rel=1e-4)


def test_in_evaluation_an_image_is_scored_as_it_is_among_others() -> None:
    module, features, group = masking().eval(), drawn(4, 8, 4, 4), torch.tensor([0, 1, 2, 3])
    together = module.patch_scores(module.activations(features), group, 28, 7)
    for i in range(4):
        one = module.activations(features[i : i + 1])
        alone = module.patch_scores(one, group[i : i + 1], 28, 7)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_only_the_convolution_and_its_norm_learn_from_activations() -> None:
    module, features = masking(), drawn(4, 8, 4, 4)
    module.activations(features).square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in module.parameters())
    assert features.grad is None


def test_without_noise_weights_are_the_published_constants() -> None:
    module = masking(0.0)
    assert bool((module.convolution.weight == 1).all())
    assert module.convolution.bias is not None
    torch.testing.assert_close(module.convolution.bias, torch.full((8,), 0.1))


def test_only_with_noise_does_the_grouping_loss_have_a_slope() -> None:
    """Cosines of equal maps are at their maximum: at the published start all is rounding."""
    slopes = []
    for jitter in (0.0, 0.01):
        module = masking(jitter)
        grouping(group_similarity(module.activations(drawn(4, 8, 4, 4))), groups=4).backward()  # type: ignore[no-untyped-call]
        assert module.convolution.weight.grad is not None
        slopes.append(float(module.convolution.weight.grad.norm()))
    flat, steep = slopes
    assert steep > 1000 * flat


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.5, 24), (0.7, 14), (0.75, 12), (0.8, 9), (0.9, 4), (0.99, 1)]
)
def test_tokens_kept_are_the_floor_of_their_share(ratio: float, kept: int) -> None:
    assert kept_tokens(49, ratio) == kept


def test_a_share_that_is_whole_is_not_rounded_down() -> None:
    assert kept_tokens(100, 0.9) == 10  # 100 * (1 - 0.9) is 9.999... in floating point
    assert kept_tokens(10, 0.7) == 3


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_the_autoencoder_is_shown_the_twelve_most_active_patches(name: str) -> None:
    plan = FACE_MAE[name](1)
    mae, module = FaceMAE(plan), masking()
    mae.draw(torch.Generator().manual_seed(0))
    activations = module.activations(drawn(3, 8, 4, 4))
    group = torch.tensor([2, 0, 3])
    scores = module.patch_scores(activations, group, plan.image_size, plan.side)
    images = drawn(3, 1, plan.image_size, plan.image_size)
    out = mae(images, scores, kept_tokens(49, 0.75))
    for row in range(3):
        visible = [p for p in range(49) if not out.masked[row, p]]
        best = sorted(range(49), key=lambda p: (-float(scores[row, p]), p))[:12]
        assert out.kept[row].tolist() == best
        assert visible == sorted(best)
    assert torch.equal(out.target, patchify(images, plan.patch))


def test_the_base_too_is_shown_twelve() -> None:
    plan = FACE_MAE["base"](3)
    with torch.device("meta"):
        mae = FaceMAE(plan)
        out = mae(torch.empty(2, 3, 112, 112), torch.empty(2, 49), kept_tokens(49, 0.75))
    assert out.kept.shape == (2, 12)
    assert out.predicted.shape == out.target.shape == (2, 49, 768)
    assert out.tokens_mean.shape == (2, 768)


def test_patches_must_fill_the_face() -> None:
    with pytest.raises(ValueError, match="30 pixels cannot be cut into patches of 4"):
        FaceMAEPlan(30, 4, 1, 32, 2, 4, 32, 1, 4)


def test_activations_are_float32_where_the_rest_is_bfloat16() -> None:
    module = SemanticMasking(8, 4)
    module.draw(torch.Generator().manual_seed(1))
    features = torch.rand(3, 8, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16):
        inside = module.activations(features)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, module.activations(features))
