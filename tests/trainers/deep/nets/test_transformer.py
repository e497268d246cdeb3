"""Blocks and positions against the formulas they stand for, element by element."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.deep.nets.transformer import Block, sincos_positions

pytestmark = pytest.mark.torch


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    side, width = 3, 16
    positions = sincos_positions(side, width, with_cls=False)
    for row in range(side):
        for column in range(side):
            expected = []
            for place in (row, column):
                angles = [place / 10_000 ** (i / 4) for i in range(4)]
                expected += [*map(math.sin, angles), *map(math.cos, angles)]
            torch.testing.assert_close(positions[side * row + column], torch.tensor(expected))


def test_the_cls_position_is_an_extra_row_of_zeros() -> None:
    with_cls = sincos_positions(3, 16, with_cls=True)
    assert not with_cls[0].any()
    assert torch.equal(with_cls[1:], sincos_positions(3, 16, with_cls=False))


def test_a_block_norms_before_it_adds() -> None:
    block, x = Block(8, heads=2), drawn(2, 3, 8)
    normed = F.layer_norm(x, (8,), block.norm1.weight, block.norm1.bias, 1e-6)
    y = x + block._attend(normed)
    normed = F.layer_norm(y, (8,), block.norm2.weight, block.norm2.bias, 1e-6)
    wide = block.fc1(normed)
    gelu = wide * 0.5 * (1 + torch.erf(wide / 2**0.5))
    assert wide.shape[-1] == 4 * 8
    torch.testing.assert_close(block(x), y + block.fc2(gelu))


def test_a_block_knows_no_order_and_no_neighbours_in_the_batch() -> None:
    block, x = Block(8, heads=2), drawn(4, 5, 8)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order])
    torch.testing.assert_close(block(x), torch.cat([block(x[i : i + 1]) for i in range(4)]))


def test_a_block_has_a_bias_everywhere() -> None:
    count = sum(weight.numel() for weight in Block(8, heads=2).parameters())
    assert count == 12 * 8**2 + 13 * 8
