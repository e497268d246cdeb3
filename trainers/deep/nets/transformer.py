"""Parts of a vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


class Block(nn.Module):
    """Attention and a two-layer network, each behind a layer norm and beside a shortcut.

    (B, T, width) -> (B, T, width).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.fc1 = nn.Linear(width, mlp_ratio * width)
        self.fc2 = nn.Linear(mlp_ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        split = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(seen.transpose(1, 2).reshape(batch, tokens, width))
        return out


def sincos_positions(side: int, width: int, *, with_cls: bool) -> Tensor:
    """(P, width) of P = side² patches row by row, or (1 + P, width) with zeros for a first CLS.

    A quarter of the columns each are sine and cosine of the row, then of the column, at
    frequencies 10000^(-i / (width / 4)). `width` is a multiple of 4.
    """
    quarter = width // 4
    frequencies = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    one_axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    rows = one_axis[:, None].expand(side, side, -1)
    columns = one_axis[None].expand(side, side, -1)
    positions = torch.cat([rows, columns], dim=2).reshape(side**2, width).to(torch.float32)
    return torch.cat([torch.zeros(1, width), positions]) if with_cls else positions
