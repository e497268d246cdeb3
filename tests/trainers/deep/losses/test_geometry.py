"""Measures of shape against closed forms and loops over pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainers.deep.losses.geometry import alignment, effective_rank, mean_deviation, uniformity

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def square() -> Tensor:
    """Four points of a circle, as far apart as they can be."""
    return torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)


def test_alignment_is_zero_for_equal_four_for_opposite_directions() -> None:
    x = drawn(6, 4)
    assert float(alignment(x, 3 * x)) == pytest.approx(0)
    assert float(alignment(x, -0.1 * x)) == pytest.approx(4)
    assert float(alignment(square(), square().roll(1, 0))) == pytest.approx(2)


def test_uniformity_of_a_square() -> None:
    # Of six pairs four are neighbours (2 apart, squared) and two are opposite (4 apart, squared).
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert float(uniformity(square())) == pytest.approx(expected)


def test_uniformity_is_over_distinct_pairs_of_directions() -> None:
    x = drawn(6, 3)
    unit = [row / row.norm() for row in x]
    pairs = [
        math.exp(-2 * float((unit[i] - unit[j]).pow(2).sum())) for i in range(6) for j in range(i)
    ]
    assert float(uniformity(x)) == pytest.approx(math.log(sum(pairs) / 15))
    scales = torch.arange(1.0, 7.0, dtype=torch.float64)[:, None]
    assert float(uniformity(x * scales)) == pytest.approx(float(uniformity(x)))


def test_uniformity_of_a_collapse_is_zero_its_largest() -> None:
    assert float(uniformity(torch.ones(5, 3))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("width", [1, 2, 8])
def test_equal_spread_in_all_dimensions_has_full_rank(width: int) -> None:
    axes = torch.eye(width, dtype=torch.float64)
    assert float(effective_rank(torch.cat([axes, -axes]))) == pytest.approx(width)


def test_the_rank_of_two_unequal_spreads() -> None:
    x = square() * torch.tensor([3.0, 1.0])
    # Singular values 3√2 and √2: shares 3/4 and 1/4.
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert float(effective_rank(x)) == pytest.approx(expected)


def test_the_rank_of_points_on_a_line_is_one_wherever_the_line_is() -> None:
    line = drawn(20, 1) * drawn(1, 5, seed=1)
    assert float(effective_rank(line)) == pytest.approx(1)
    assert float(effective_rank(line + 10 * drawn(1, 5, seed=2))) == pytest.approx(1)


def test_the_rank_of_a_single_point_is_one() -> None:
    assert float(effective_rank(torch.full((7, 3), 0.1))) == pytest.approx(1)


def test_the_rank_does_not_depend_on_scale_or_rotation() -> None:
    x = drawn(30, 4) * torch.tensor([1.0, 2, 3, 4])
    turned = x @ torch.linalg.qr(drawn(4, 4, seed=1)).Q
    assert float(effective_rank(1000 * turned)) == pytest.approx(float(effective_rank(x)))


def test_the_deviation_of_a_square() -> None:
    # Each dimension has 1, 0, -1, 0: unbiased variance 2/3, times D = 2.
    assert float(mean_deviation(5 * square())) == pytest.approx(math.sqrt(4 / 3))


def test_the_deviation_is_one_on_a_sphere_and_zero_in_a_collapse() -> None:
    assert float(mean_deviation(drawn(4000, 16))) == pytest.approx(1, rel=0.02)
    scales = torch.arange(1.0, 6.0)[:, None]
    assert float(mean_deviation(scales * torch.ones(5, 3))) == pytest.approx(0, abs=1e-6)
