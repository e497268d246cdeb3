"""DACL's attention network: a last map in, a weight for each dimension of the embedding out.

Legend: ``B`` images, ``D`` embedding width, ``V`` values of the last map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class AttentionNet(nn.Module):
    """Maps (B, V) -> weights (B, D) in (0, 1).

    Linear layers with batch norm and ReLU, the last with tanh; then for each dimension two logits,
    whose softmax says how much it is to be included (Farzaneh & Qi 2021, section 3.2).
    """

    def __init__(self, values: int, hidden: Sequence[int], width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([values, *hidden], hidden, strict=False):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        layers[-1] = nn.Tanh()
        self.attention = nn.Sequential(*layers)
        self.heads = nn.Linear(hidden[-1], 2 * width)

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.heads(self.attention(maps)).float()
        return logits.view(len(maps), -1, 2).softmax(dim=2)[..., 1]

    def draw(self, rng: torch.Generator) -> None:
        """Kaiming-normal weights by fan-out, as published; biases 0."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                with torch.no_grad():
                    layer.weight.normal_(std=(2 / layer.out_features) ** 0.5, generator=rng)
                    layer.bias.zero_()
            elif isinstance(layer, nn.BatchNorm1d):
                layer.reset_parameters()
