"""BYOL's, VICReg's and SimFLE's losses, and measures of shape, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainers.deep.losses.geometry import alignment, effective_rank, mean_deviation, uniformity
from trainers.deep.losses.regression import cosine_distance, symmetric
from trainers.deep.losses.simfle import (
    block_matrix,
    distillation,
    grouping,
    grouping_loss,
    reconstruction,
)
from trainers.deep.losses.vicreg import vicreg_terms

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# BYOL


def test_directions_that_agree_oppose_or_stand_upright() -> None:
    x = torch.tensor([[2.0, 0.0]])
    for target, expected in (([5.0, 0], 0.0), ([-1.0, 0], 4.0), ([0, 3.0], 2.0)):
        assert float(cosine_distance(x, torch.tensor([target]))) == pytest.approx(expected)


def test_both_directions_are_summed_and_each_view_predicts_the_other() -> None:
    p1, p2, z1, z2 = (drawn(5, 4, seed=seed) for seed in range(4))
    expected = cosine_distance(p1, z2) + cosine_distance(p2, z1)
    assert torch.equal(symmetric(p1, p2, z1, z2), expected)
    assert torch.equal(symmetric(p1, p2, z1, z2), symmetric(p2, p1, z2, z1))


def test_no_gradient_reaches_a_target() -> None:
    p, z = drawn(5, 4).requires_grad_(), drawn(5, 4, seed=1).requires_grad_()
    torch.autograd.backward(cosine_distance(p, z))
    assert p.grad is not None
    assert z.grad is None


# VICReg


def test_terms_of_vicreg_of_two_known_views() -> None:
    first = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]], dtype=torch.float64)
    terms = vicreg_terms(first, first)
    assert float(terms.invariance) == 0
    # A dimension of variance 4/3 lacks nothing, a constant one lacks 1 - sqrt(eps): half of it.
    assert float(terms.variance) == pytest.approx((1 - 0.01) / 2)
    assert float(terms.covariance) == 0
    assert float(vicreg_terms(first, first + 2).invariance) == pytest.approx(4)


def test_covariance_is_of_different_dimensions_alone() -> None:
    x = drawn(50, 3)
    full = torch.cov(x.mT)
    expected = 2 * float((full - torch.diag(full.diagonal())).pow(2).sum()) / 3
    assert float(vicreg_terms(x, x).covariance) == pytest.approx(expected)


# SimFLE


def test_the_block_matrix_has_ones_within_groups() -> None:
    expected = torch.kron(torch.eye(3), torch.ones(2, 2))
    assert torch.equal(block_matrix(6, 3), expected)


@pytest.mark.parametrize("channels", [64, 512])
@pytest.mark.parametrize("groups", [8, 32])
def test_equal_channels_give_the_published_constant(channels: int, groups: int) -> None:
    alike = torch.rand(3, 1, 4, 4, dtype=torch.float64).expand(-1, channels, -1, -1)
    g = 262.144 * (1 - 1 / groups)
    assert float(grouping(alike, groups)) == pytest.approx(g)
    assert float(grouping_loss(alike, groups)) == pytest.approx(g**2)


def test_channels_alike_within_groups_and_apart_across_lose_nothing() -> None:
    maps = torch.zeros(2, 4, 1, 2, dtype=torch.float64)
    maps[:, :2, :, 0] = 1e6
    maps[:, 2:, :, 1] = 1e6
    assert float(grouping(maps, 2)) == pytest.approx(0, abs=1e-6)
    assert float(grouping(maps, 4)) > 1  # were each a group of its own


def test_distillation_is_the_kullback_leibler_divergence_at_temperature_4() -> None:
    outputs = [drawn(3, 5, seed=seed) for seed in range(3)]
    mean = sum(outputs) / 3
    expected = 0.0
    for row in range(3):
        p = torch.softmax(mean[row] / 4, 0)  # type: ignore[index]
        for u in outputs:
            q = torch.softmax(u[row] / 4, 0)
            expected += 16 * float((p * (p / q).log()).sum()) / 3
    assert float(distillation(outputs)) == pytest.approx(expected)
    assert float(distillation(outputs[::-1])) == pytest.approx(expected)
    assert float(distillation([outputs[0]] * 3)) == pytest.approx(0)


def test_no_gradient_passes_through_the_mean_and_all_three_are_treated_alike() -> None:
    outputs = [drawn(3, 5, seed=seed).requires_grad_() for seed in range(3)]
    torch.autograd.backward(distillation(outputs))
    mean = torch.softmax((sum(outputs) / 3).detach() / 4, 1)  # type: ignore[union-attr]
    for u in outputs:
        expected = 4 * (torch.softmax(u.detach() / 4, 1) - mean) / 3
        torch.testing.assert_close(u.grad, expected)


def test_reconstruction_counts_hidden_patches_standardised() -> None:
    target = torch.tensor([[[1.0, 2, 3], [0, 0, 6]]], dtype=torch.float64)
    masked = torch.tensor([[False, True]])
    spread = math.sqrt(12 + 1e-6)  # unbiased variance of 0, 0, 6
    perfect = (target - target.mean(2, keepdim=True)) / spread
    assert float(reconstruction(perfect, target, masked)) == pytest.approx(0)
    assert float(reconstruction(perfect + 2, target, masked)) == pytest.approx(4)
    visible = perfect.clone()
    visible[:, 0] += 100
    assert float(reconstruction(visible, target, masked)) == pytest.approx(0)


# Shape


def test_alignment_and_uniformity_of_known_points() -> None:
    x = torch.tensor([[1.0, 0], [0, 2.0]])
    assert float(alignment(x, 3 * x)) == pytest.approx(0)
    assert float(alignment(x, -x)) == pytest.approx(4)
    assert float(uniformity(x)) == pytest.approx(-4)  # squared distance 2, times -2
    assert float(uniformity(torch.ones(4, 3))) == pytest.approx(0, abs=1e-6)


def test_rank_and_deviation_tell_a_collapse() -> None:
    spread = drawn(4000, 8)
    assert float(effective_rank(spread)) == pytest.approx(8, rel=0.01)
    assert float(mean_deviation(spread)) == pytest.approx(1, rel=0.02)
    line = drawn(100, 1) * torch.ones(1, 8, dtype=torch.float64)
    assert float(effective_rank(line)) == pytest.approx(1)
    assert float(mean_deviation(torch.ones(50, 8))) == pytest.approx(0)
    assert float(effective_rank(torch.ones(50, 8))) == pytest.approx(1)
