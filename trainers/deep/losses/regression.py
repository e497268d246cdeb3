"""One network predicts what another says (BYOL, Grill et al. 2020, arXiv 2006.07733)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cosine_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """The mean over rows of 2 - 2 cos(p, z), equation 2; no gradient reaches the target (N, D)."""
    return (2 - 2 * F.cosine_similarity(predicted, target.detach(), dim=1)).mean()


def symmetric(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """The sum of both directions: each view predicts the projection of the other, (N, D) all."""
    return cosine_distance(p1, z2) + cosine_distance(p2, z1)
