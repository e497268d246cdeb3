"""Contrast against closed forms and a twin with loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainers.deep.losses.contrastive import contrastive, nt_xent, sup_con

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def twin(views: list[Tensor], groups: list[int], temperature: float) -> float:
    """Equation 2 of SupCon, pair by pair."""
    z = [view / view.norm() for view in views]
    losses = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        total = sum(math.exp(float(z[i] @ z[a]) / temperature) for a in others)
        positives = [p for p in others if groups[p] == groups[i]]
        if positives:
            logs = [float(z[i] @ z[p]) / temperature - math.log(total) for p in positives]
            losses.append(-sum(logs) / len(positives))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("count", [2, 5, 64])
def test_all_directions_identical_give_the_log_of_the_choices(count: int) -> None:
    same = torch.ones(count, 3)
    torch.testing.assert_close(nt_xent(same, 5 * same, 0.1), torch.tensor(math.log(2 * count - 1)))


def test_two_orthogonal_pairs() -> None:
    views = torch.eye(2, dtype=torch.float64)
    expected = math.log(math.e**2 + 2) - 2  # one positive at 1 / 0.5, two strangers at 0
    assert float(nt_xent(views, views, 0.5)) == pytest.approx(expected)


def test_two_tight_opposite_classes() -> None:
    first = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], dtype=torch.float64)
    groups = torch.tensor([0, 0, 1, 1])
    # Of seven others three are alike (1) and four are opposite (-1).
    expected = math.log(3 * math.e + 4 / math.e) - 1
    assert float(sup_con(first, first, groups, 1.0)) == pytest.approx(expected)


def test_it_is_what_the_loops_say() -> None:
    first, second = drawn(6, 4), drawn(6, 4, seed=1)
    groups = torch.tensor([0, 1, 0, 2, 1, 0])
    views, both = [*first, *second], groups.repeat(2).tolist()
    assert float(sup_con(first, second, groups, 0.3)) == pytest.approx(twin(views, both, 0.3))
    alone = [*range(6)] * 2
    assert float(nt_xent(first, second, 0.3)) == pytest.approx(twin(views, alone, 0.3))


def test_samples_of_unknown_class_attract_their_other_view_alone() -> None:
    first, second = drawn(5, 4), drawn(5, 4, seed=1)
    unknown = sup_con(first, second, torch.tensor([0, -1, 0, -1, 1]), 0.2)
    named = sup_con(first, second, torch.tensor([0, 7, 0, 8, 1]), 0.2)
    assert torch.equal(unknown, named)
    assert torch.equal(sup_con(first, second, torch.arange(5), 0.2), nt_xent(first, second, 0.2))


def test_shares_of_the_anchors_average_to_the_whole() -> None:
    first, second = drawn(4, 3), drawn(4, 3, seed=1)
    keys, groups = torch.cat([first, second]), torch.arange(4).repeat(2)
    shares = [
        contrastive(keys[own], keys, own, groups[own], groups, 0.1)
        for own in (torch.tensor([0, 1, 4, 5]), torch.tensor([2, 3, 6, 7]))
    ]
    torch.testing.assert_close(torch.stack(shares).mean(), nt_xent(first, second, 0.1))


def test_an_anchor_without_a_positive_is_left_out_and_none_at_all_is_an_error() -> None:
    keys, own = drawn(3, 4), torch.arange(3)
    groups = torch.tensor([0, 0, 1])
    expected = twin([*keys], groups.tolist(), 0.5)
    found = contrastive(keys, keys, own, groups, groups, 0.5)
    assert float(found) == pytest.approx(expected)
    with pytest.raises(ValueError, match="no anchor has a positive"):
        contrastive(keys, keys, own, own, own, 0.5)


def test_gradients_are_those_of_the_differences() -> None:
    first, second = drawn(4, 3).requires_grad_(), drawn(4, 3, seed=1).requires_grad_()
    groups = torch.tensor([0, 0, -1, 1])
    assert torch.autograd.gradcheck(lambda a, b: sup_con(a, b, groups, 0.5), (first, second))


def test_gradients_of_a_share_stay_finite_where_an_anchor_has_no_positive() -> None:
    anchors, keys = drawn(2, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_()
    own, groups = torch.tensor([0, 3]), torch.tensor([0, 0, 1, 2, 0])
    assert torch.autograd.gradcheck(
        lambda a, k: contrastive(a, k, own, groups[own], groups, 0.5), (anchors, keys)
    )
    torch.autograd.backward(contrastive(anchors, keys, own, groups[own], groups, 0.5))
    assert anchors.grad is not None
    assert anchors.grad[0].abs().max() > 0
    assert anchors.grad[1].abs().max() == 0


def test_directions_of_bfloat16_are_compared_in_float32() -> None:
    first, second = drawn(4, 3).bfloat16(), drawn(4, 3, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(first, second, 0.1)
    assert torch.equal(loss, nt_xent(first.float(), second.float(), 0.1))
