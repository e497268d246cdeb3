"""Alike, spread out, not redundant (Bardes, Ponce & LeCun 2022, arXiv 2105.04906)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class VICRegTerms(NamedTuple):
    """The three terms, each ()."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_terms(first: Tensor, second: Tensor, eps: float = 1e-4) -> VICRegTerms:
    """The terms of two views' outputs (N, D): the paper's Algorithm 1 with half its variance term.

    Differs: section 4.1 sums squared differences over dimensions; the algorithm, and this, takes
    the mean over N and D. Both add the variance terms of the two views; the published code, and
    this, takes half of each.
    """
    spreads = [torch.sqrt(x.var(0) + eps) for x in (first, second)]
    variance = torch.stack([F.relu(1 - spread).mean() for spread in spreads]).mean()
    covariance = _off_diagonal(first) + _off_diagonal(second)
    return VICRegTerms(F.mse_loss(first, second), variance, covariance)


def _off_diagonal(x: Tensor) -> Tensor:
    """Squared covariances of different dimensions, summed, over D."""
    centred = x - x.mean(0)
    with torch.autocast(x.device.type, enabled=False):  # small sums of many products
        covariance = centred.mT @ centred / (len(x) - 1)
    return (covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()) / x.shape[1]
