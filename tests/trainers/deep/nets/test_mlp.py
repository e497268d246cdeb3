"""Heads are the layers their papers name, drawn from a given generator within torch's bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainers.deep.nets.drawing import draw_layers
from trainers.deep.nets.mlp import Expander, MLPHead, ProjectionHead

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("head", "parameters"),
    [
        (MLPHead(6, 8, 4), 6 * 8 + 8 + 2 * 8 + 8 * 4 + 4),
        (ProjectionHead(6, 8, 4), 6 * 8 + 8 + 8 * 4 + 4),
        (Expander(6, 8, 4), 6 * 8 + 8 + 2 * 8 + 8 * 8 + 8 + 2 * 8 + 8 * 4),
    ],
    ids=["mlp", "projection", "expander"],
)
def test_a_head_has_the_layers_of_its_paper(head: nn.Module, parameters: int) -> None:
    assert sum(weight.numel() for weight in head.parameters()) == parameters
    assert head(drawn(5, 6)).shape == (5, 4)


def test_the_mlp_head_is_linear_norm_relu_linear() -> None:
    head, x = MLPHead(6, 8, 4), drawn(5, 6)
    head.draw(torch.Generator().manual_seed(2))
    w1, b1, scale, shift, w2, b2 = head.parameters()
    hidden = x @ w1.T + b1
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    hidden = (hidden * scale + shift).clamp(min=0)
    torch.testing.assert_close(head(x), hidden @ w2.T + b2)


@pytest.mark.parametrize("kind", [MLPHead, ProjectionHead, Expander])
def test_in_evaluation_a_row_is_itself_among_others(kind: type[MLPHead]) -> None:
    head, x = kind(6, 8, 4), drawn(5, 6)
    head(drawn(9, 6, seed=1))  # moves the running statistics
    head.eval()
    alone = torch.cat([head(x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(head(x), alone)


def test_layers_are_drawn_within_their_bounds_and_norms_are_reset() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 64))
    conv, norm, linear = layers
    assert isinstance(norm, nn.BatchNorm2d)
    for tensor in (*layers.parameters(), *layers.buffers()):
        tensor.data.fill_(9)
    draw_layers(layers, torch.Generator().manual_seed(0))
    for layer, fan_in in ((conv, 4 * 9), (linear, 64)):
        for tensor in layer.parameters():
            largest = float(tensor.detach().abs().max())
            assert 0.8 * fan_in**-0.5 < largest <= fan_in**-0.5
    assert bool((norm.weight == 1).all())
    assert bool((norm.bias == 0).all())
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert bool((norm.running_mean == 0).all())
    assert bool((norm.running_var == 1).all())
    assert int(norm.num_batches_tracked) == 0
