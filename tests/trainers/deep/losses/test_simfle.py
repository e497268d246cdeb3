"""SimFLE's own losses against closed forms and twins with loops."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from trainers.deep.losses.simfle import (
    block_matrix,
    distillation,
    group_similarity,
    grouping,
    grouping_loss,
    reconstruction,
)

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Grouping


def test_consecutive_channels_form_the_groups() -> None:
    expected = [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]
    assert block_matrix(6, 3).tolist() == expected
    assert torch.equal(block_matrix(4, 4), torch.eye(4))
    assert torch.equal(block_matrix(4, 1), torch.ones(4, 4))


def test_similarity_is_the_mean_cosine_of_channels_maps() -> None:
    maps = drawn(3, 4, 2, 5).abs()
    found = group_similarity(maps)
    for i in range(4):
        for j in range(4):
            cosines = []
            for image in maps + 0.001:
                a, b = image[i].flatten(), image[j].flatten()
                cosines.append(float(a @ b / (a.norm() * b.norm())))
            assert float(found[i, j]) == pytest.approx(sum(cosines) / 3)


def test_channels_that_are_dead_are_alike() -> None:
    found = group_similarity(torch.zeros(2, 3, 2, 2, dtype=torch.float64))
    torch.testing.assert_close(found, torch.ones(3, 3, dtype=torch.float64))


@pytest.mark.parametrize("channels", [64, 512])
@pytest.mark.parametrize("groups", [8, 32])
def test_constant_activations_give_the_published_value(channels: int, groups: int) -> None:
    same = torch.full((2, channels, 4, 4), 0.3)
    g = 262.144 * (1 - 1 / groups)
    assert float(grouping(group_similarity(same), groups)) == pytest.approx(g, rel=1e-5)
    assert float(grouping_loss(group_similarity(same), groups)) == pytest.approx(g**2, rel=1e-5)


def test_the_miss_is_summed_over_all_pairs() -> None:
    maps = drawn(2, 6, 2, 2).abs()
    similar, wanted = group_similarity(maps).tolist(), block_matrix(6, 2).tolist()
    miss = sum((similar[i][j] - wanted[i][j]) ** 2 for i in range(6) for j in range(6))
    assert float(grouping(group_similarity(maps), 2)) == pytest.approx(
        0.001 * miss / (6 / 512) ** 2
    )


def test_gradients_of_the_grouping_loss_are_those_of_the_differences() -> None:
    maps = (0.5 + drawn(2, 4, 2, 2).abs()).requires_grad_()
    # L_g is of the order of 10^4 here, so it is scaled for the tolerances of the check.
    assert torch.autograd.gradcheck(lambda x: grouping_loss(group_similarity(x), 2) / 1e4, maps)


# Distillation


def test_distillation_at_temperature_4_is_what_the_loops_say() -> None:
    outputs = [3 * drawn(2, 4, seed=seed) for seed in range(3)]
    mean = (outputs[0] + outputs[1] + outputs[2]) / 3
    expected = 0.0
    for u in outputs:
        for row in range(2):
            p, q = torch.softmax(mean[row] / 4, 0).tolist(), torch.softmax(u[row] / 4, 0).tolist()
            divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            expected += 4**2 * divergence / 2
    assert float(distillation(outputs)) == pytest.approx(expected)
    assert float(distillation(outputs, 1.0)) != pytest.approx(expected)


def test_two_outputs_of_two_numbers_have_a_closed_form() -> None:
    x = 4 * math.log(3)
    outputs = [torch.tensor([[x, 0.0]]), torch.tensor([[-x, 0.0]])]
    # The mean says (1/2, 1/2), the outputs (3/4, 1/4) and (1/4, 3/4).
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(distillation(outputs)) == pytest.approx(16 * 2 * divergence, rel=1e-5)


def test_the_three_outputs_are_treated_alike() -> None:
    outputs = [drawn(3, 5, seed=seed) for seed in range(3)]
    expected = float(distillation(outputs))
    for order in permutations(outputs):
        assert float(distillation(order)) == pytest.approx(expected)


def test_the_mean_is_a_target_and_passes_no_gradient() -> None:
    outputs = [drawn(3, 5, seed=seed).requires_grad_() for seed in range(3)]
    torch.autograd.backward(distillation(outputs))
    mean = torch.stack(outputs).detach().mean(0)
    for u in outputs:
        # T^2 KL with a fixed target has the gradient T (softmax(u / T) - target), over B.
        # (Without `detach` it is the same: the three ways through the mean add up to nothing.)
        expected = 4 * (torch.softmax(u.detach() / 4, 1) - torch.softmax(mean / 4, 1)) / 3
        torch.testing.assert_close(u.grad, expected)


# Reconstruction


def test_a_guess_of_the_mean_costs_the_variance_that_is_left() -> None:
    target = torch.tensor([[[1.0, 3.0]]], dtype=torch.float64)
    guess = torch.zeros_like(target)
    # Unbiased variance 2, so that both values stand at ±1/√2: one half each.
    found = float(reconstruction(guess, target, torch.tensor([[True]])))
    assert found == pytest.approx(1 / (2 + 1e-6))


def test_patches_of_one_colour_are_all_zero() -> None:
    target = torch.full((1, 1, 4), 9.0)
    guess = torch.full((1, 1, 4), 0.5)
    assert float(reconstruction(guess, target, torch.ones(1, 1))) == pytest.approx(0.25)


def test_it_is_the_mean_over_hidden_patches_of_all_images() -> None:
    predicted, target = drawn(3, 4, 5), drawn(3, 4, 5, seed=1)
    masked = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1], [0, 1, 0, 0]], dtype=torch.bool)
    errors = []
    for b, p in masked.nonzero().tolist():
        patch = target[b, p]
        standard = (patch - patch.mean()) / (patch.var(correction=1) + 1e-6).sqrt()
        errors.append(float((predicted[b, p] - standard).pow(2).mean()))
    expected = pytest.approx(sum(errors) / 5)
    assert float(reconstruction(predicted, target, masked)) == expected
    assert float(reconstruction(predicted, target, masked.double())) == expected


def test_visible_patches_neither_count_nor_get_gradients() -> None:
    predicted, target = drawn(2, 3, 4).requires_grad_(), drawn(2, 3, 4, seed=1)
    masked = torch.tensor([[True, False, False], [False, True, True]])
    loss = reconstruction(predicted, target, masked)
    torch.autograd.backward(loss)
    assert predicted.grad is not None
    assert predicted.grad[~masked].abs().max() == 0
    assert (predicted.grad[masked] != 0).all()
    changed = predicted.detach() + 100 * (~masked)[:, :, None]
    assert torch.equal(reconstruction(changed, target, masked), loss.detach())
