"""What shape an embedding has: measures of people's interest, not losses.

Rows are compared by direction, but for the rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of two views' directions, (N, D) each: 0 where views agree.

    Wang & Isola 2020 (arXiv 2005.10242), section 4.1, with exponent 2.
    """
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).pow(2).sum(1).mean()


def uniformity(x: Tensor) -> Tensor:
    """Logarithm of the mean of exp(-2 |x - y|²) over pairs of directions (N, D): 0 if all are one.

    Wang & Isola 2020 (arXiv 2005.10242), section 4.1, with t = 2.
    """
    squared: Tensor = torch.pdist(F.normalize(x, dim=1)).pow(2)
    return squared.mul(-2).exp().mean().log()


def effective_rank(x: Tensor) -> Tensor:
    """Exponential of the entropy of the singular values' shares, of centred rows (N, D): 1 to D.

    Roy & Vetterli 2007 (EUSIPCO). Differs from RankMe (Garrido et al. 2023, arXiv 2210.02885) in
    that rows are centred: what all images share is not counted as a dimension.
    """
    values: Tensor = torch.linalg.svdvals(x - x.mean(0))
    shares = values / values.sum().clamp(min=torch.finfo(x.dtype).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


def mean_deviation(x: Tensor) -> Tensor:
    """√D times the mean over dimensions of the deviation of directions (N, D).

    1 where directions spread over the sphere, 0 where they have collapsed (Chen & He 2021, arXiv
    2011.10566, section 4.1).
    """
    deviations: Tensor = F.normalize(x, dim=1).std(0)
    return deviations.mean() * math.sqrt(x.shape[1])
