"""Weights drawn from a generator that is given, never from the global one."""

from __future__ import annotations

import torch
from torch import nn


def draw_layers(module: nn.Module, rng: torch.Generator) -> None:
    """Draws linear and convolution layers uniformly in ±1/√fan-in, and resets norms.

    The law of torch's own constructors.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = float(layer.weight[0].numel()) ** -0.5
            with torch.no_grad():
                for tensor in layer.parameters(recurse=False):
                    tensor.uniform_(-bound, bound, generator=rng)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            layer.reset_parameters()
