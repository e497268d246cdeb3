"""BYOL's distance against closed forms and a loop over rows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainers.deep.losses.regression import cosine_distance, symmetric

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("degrees", [0, 60, 90, 120, 180])
def test_the_distance_depends_on_the_angle_and_not_on_lengths(degrees: int) -> None:
    angle = math.radians(degrees)
    predicted = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    target = 0.2 * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    expected = 2 - 2 * math.cos(angle)
    assert float(cosine_distance(predicted, target)) == pytest.approx(expected, abs=1e-12)


def test_it_is_the_mean_squared_distance_of_directions() -> None:
    p, z = drawn(6, 4), drawn(6, 4, seed=1)
    rows = [float((a / a.norm() - b / b.norm()).pow(2).sum()) for a, b in zip(p, z, strict=True)]
    assert float(cosine_distance(p, z)) == pytest.approx(sum(rows) / 6)


def test_each_view_predicts_the_other_and_both_directions_are_summed() -> None:
    east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    # p1 meets z2 at 180 degrees, p2 meets z1 at 90; p1 with z1 and p2 with z2 would give 0 + 2.
    assert float(symmetric(east, north, east, -east)) == pytest.approx(4 + 2)
    assert float(symmetric(east, north, north, east)) == pytest.approx(0)


def test_gradients_reach_predictions_and_no_target() -> None:
    p1, p2, z1, z2 = (drawn(5, 4, seed=seed).requires_grad_() for seed in range(4))
    torch.autograd.backward(symmetric(p1, p2, z1, z2))
    assert p1.grad is not None
    assert p2.grad is not None
    assert z1.grad is None
    assert z2.grad is None


def test_gradients_are_those_of_the_differences() -> None:
    z = drawn(5, 4, seed=1)
    assert torch.autograd.gradcheck(lambda p: cosine_distance(p, z), drawn(5, 4).requires_grad_())
