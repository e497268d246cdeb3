"""VICReg's three terms against closed forms and a twin with loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainers.deep.losses.vicreg import VICRegTerms, vicreg_terms

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def twin(first: Tensor, second: Tensor, eps: float) -> tuple[float, float, float]:
    """The terms number by number."""
    count, width = first.shape
    views = [view.tolist() for view in (first, second)]
    gaps = [(views[0][n][d] - views[1][n][d]) ** 2 for n in range(count) for d in range(width)]
    variance = covariance = 0.0
    for view in views:
        means = [sum(row[d] for row in view) / count for d in range(width)]
        for i in range(width):
            for j in range(width):
                shared = sum((row[i] - means[i]) * (row[j] - means[j]) for row in view)
                shared /= count - 1
                if i == j:
                    variance += max(0.0, 1 - math.sqrt(shared + eps)) / width / 2
                else:
                    covariance += shared**2 / width
    return sum(gaps) / (count * width), variance, covariance


def values(terms: VICRegTerms) -> tuple[float, ...]:
    return tuple(float(term) for term in terms)


@pytest.mark.parametrize("eps", [1e-4, 0.3])
def test_terms_are_what_the_loops_say(eps: float) -> None:
    first, second = 0.7 * drawn(6, 4), drawn(6, 4, seed=1)
    found = values(vicreg_terms(first, second, eps))
    assert found == pytest.approx(twin(first, second, eps))


def test_a_shift_costs_its_square_averaged_over_dimensions() -> None:
    x = drawn(5, 4)
    shift = torch.tensor([2.0, 0, 0, 0], dtype=torch.float64)
    assert float(vicreg_terms(x, x + shift).invariance) == pytest.approx(4 / 4)


def test_a_collapse_costs_all_the_spread_and_no_covariance() -> None:
    same = torch.full((5, 3), 7.0, dtype=torch.float64)
    assert values(vicreg_terms(same, same)) == pytest.approx((0, 1 - math.sqrt(1e-4), 0))


def test_one_collapsed_view_of_two_costs_half_of_that() -> None:
    wide, same = 100 * drawn(5, 3), torch.zeros(5, 3, dtype=torch.float64)
    assert float(vicreg_terms(wide, same).variance) == pytest.approx((1 - 0.01) / 2)


def test_spread_beyond_one_costs_nothing_and_uncorrelated_dimensions_neither() -> None:
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert values(vicreg_terms(corners, corners)) == pytest.approx((0, 0, 0))


def test_two_equal_dimensions_cost_their_covariance_in_both_views() -> None:
    column = torch.tensor([[1.0], [-1], [1], [-1]], dtype=torch.float64)
    x = column.expand(-1, 2)
    # Covariance 4/3, off the diagonal twice, over two dimensions; the same in the other view.
    assert float(vicreg_terms(x, x).covariance) == pytest.approx(2 * 2 * (4 / 3) ** 2 / 2)


def test_views_are_treated_alike() -> None:
    first, second = 0.5 * drawn(6, 4), drawn(6, 4, seed=1)
    swapped = values(vicreg_terms(second, first))
    assert swapped == pytest.approx(values(vicreg_terms(first, second)))


def test_gradients_are_those_of_the_differences() -> None:
    first, second = drawn(5, 3).requires_grad_(), (0.5 * drawn(5, 3, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: tuple(vicreg_terms(a, b)), (first, second))


def test_covariances_are_float32_where_the_rest_is_bfloat16() -> None:
    first = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = vicreg_terms(first, first)
    assert inside.covariance.dtype == torch.float32
    assert torch.equal(inside.covariance, vicreg_terms(first, first).covariance)
