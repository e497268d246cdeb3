"""Sparse centre loss and how centres move (Farzaneh & Qi 2021, and their code).

Legend: ``B`` images, ``D`` embedding width, ``C`` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sparse_center_loss(
    embeddings: Tensor, attention: Tensor, centers: Tensor, labels: Tensor
) -> Tensor:
    """L_SC = 1/(2B) Σ_i Σ_j a_ij (f_ij - c_{y_i j})², from which no gradient reaches the centres.

    Args:
        embeddings: f, (B, D).
        attention: a, (B, D) or anything that spreads to it.
        centers: c, (C, D).
        labels: (B,) in [0, C).
    """
    distances = (embeddings - centers.detach()[labels]).square()
    return (attention * distances).sum() / (2 * len(embeddings))


@torch.no_grad()
def moving_average_step(
    embeddings: Tensor, attention: Tensor, centers: Tensor, labels: Tensor
) -> Tensor:
    """Δc, (C, D): Σ_{i: y_i=k} -a_i (f_i - c_k) / (1 + n_k), n_k images of class k.

    It knows neither the weight of the loss nor B; centres move by -α of it.
    """
    pull = _pulls(embeddings, attention, centers, labels)
    counts = torch.bincount(labels, minlength=len(centers)).to(pull.dtype)
    return -pull / (1 + counts)[:, None]


@torch.no_grad()
def gradient_step(embeddings: Tensor, attention: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    """∂L_SC/∂c, (C, D): Σ_{i: y_i=k} -a_i (f_i - c_k) / B."""
    return -_pulls(embeddings, attention, centers, labels) / len(embeddings)


def _pulls(embeddings: Tensor, attention: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    """(C, D): the sum over a class's images of a (f - c)."""
    each = attention * (embeddings - centers[labels])
    return torch.zeros_like(centers).index_add_(0, labels, each.to(centers.dtype))
