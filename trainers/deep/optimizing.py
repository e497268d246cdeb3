"""Optimisers as YAML names them, and steps that look around first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import assert_never

import torch
from torch import Tensor, nn

from trainers.optimizers import (
    ASGD,
    SAM,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
)


def make_optimizer(settings: Optimizer, weights: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Torch's optimiser of this name, with these settings and no others."""
    options = settings.model_dump(exclude={"name"})
    match settings:
        case SGD():
            return torch.optim.SGD(weights, fused=True, **options)
        case Adam():
            return torch.optim.Adam(weights, fused=True, **options)
        case AdamW():
            return torch.optim.AdamW(weights, fused=True, **options)
        case Adagrad():
            return torch.optim.Adagrad(weights, **options)
        case Adadelta():
            return torch.optim.Adadelta(weights, **options)
        case RMSprop():
            return torch.optim.RMSprop(weights, **options)
        case ASGD():
            return torch.optim.ASGD(weights, **options)
    assert_never(settings)


@contextmanager
def climbed(settings: SAM, weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside, weights stand at w + ρ g / (‖g‖ + 1e-12), g their gradients when it is entered.

    Afterwards they are w again, bit for bit; gradients are whatever was left inside.
    """
    with_grad = [weight for weight in weights if weight.grad is not None]
    before = [weight.detach().clone() for weight in with_grad]
    with torch.no_grad():
        grads = [weight.grad for weight in with_grad if weight.grad is not None]
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(grad.float()) for grad in grads])
        )
        scale = settings.rho / (norm + 1e-12)
        for weight, grad in zip(with_grad, grads, strict=True):
            weight.add_(grad * scale.to(grad.dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, old in zip(with_grad, before, strict=True):
                weight.copy_(old)
