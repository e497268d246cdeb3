"""Heads that are trained with an encoder and thrown away: (B, in) -> (B, out)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.deep.nets.drawing import draw_layers


class _Head(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def draw(self, rng: torch.Generator) -> None:
        draw_layers(self, rng)


class MLPHead(_Head):
    """Linear, batch norm, ReLU, linear: projector and predictor of BYOL and SimFLE."""

    def __init__(self, width_in: int, hidden: int, width_out: int) -> None:
        super().__init__(
            nn.Linear(width_in, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, width_out),
        )


class ProjectionHead(_Head):
    """Linear, ReLU, linear: the projection of SimCLR and SupCon."""

    def __init__(self, width_in: int, hidden: int, width_out: int) -> None:
        super().__init__(
            nn.Linear(width_in, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width_out)
        )


class Expander(_Head):
    """Two hidden layers with batch norm, and a last linear one without bias: VICReg's."""

    def __init__(self, width_in: int, hidden: int, width_out: int) -> None:
        super().__init__(
            nn.Linear(width_in, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, width_out, bias=False),
        )
