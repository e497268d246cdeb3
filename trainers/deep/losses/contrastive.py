"""Contrast: what belongs together attracts, all else repels.

Legend: ``N`` images, ``A`` anchors, ``K`` keys, ``D`` width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive(
    anchors: Tensor,
    keys: Tensor,
    own: Tensor,
    anchor_groups: Tensor,
    key_groups: Tensor,
    temperature: float,
) -> Tensor:
    """Supervised contrast in the form L_out (Khosla et al. 2020, arXiv 2004.11362, equation 2).

    The mean over anchors i of -1/|P(i)| Σ_{p ∈ P(i)} log softmax_{a ≠ i}(z_i·z_a / τ)_p, where P(i)
    are the keys of i's group but for i itself. An anchor without any is left out of the mean.

    Args:
        anchors: (A, D), of any length; directions are compared.
        keys: (K, D), the anchors among them.
        own: (A,) where each anchor stands among the keys, so that one process may have a share of
            the anchors and all keys.
        anchor_groups: (A,) int64.
        key_groups: (K,) int64.
        temperature: τ.

    Raises:
        ValueError: No anchor has a positive.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        similar = F.normalize(_wide(anchors), dim=1) @ F.normalize(_wide(keys), dim=1).mT
        is_self = own[:, None] == torch.arange(len(keys), device=own.device)
        logits = (similar / temperature).masked_fill(is_self, -torch.inf)
        log_share = logits - logits.logsumexp(1, keepdim=True)
        positive = (anchor_groups[:, None] == key_groups) & ~is_self
        counts = positive.sum(1)
        if not bool(counts.any()):
            raise ValueError("no anchor has a positive; give two views, or two of a class")
        of_positives = log_share.masked_fill(~positive, 0.0).sum(1)
        return -(of_positives / counts.clamp(min=1)).sum() / (counts > 0).sum()


def sup_con(
    first: Tensor,
    second: Tensor,
    groups: Tensor,
    temperature: float,
    *,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """SupCon of two views (N, D) each; all 2N are keys, and anchors too unless there are shares.

    `groups` are (N,) classes; a sample of a negative one, whose class nobody knows, has its own
    other view for its only positive. With `share` (r, W) the anchors are both views of the r-th of
    W equal parts of the samples; the mean over all r is the loss without shares.
    """
    count = len(first)
    alone = -1 - torch.arange(count, device=groups.device)
    groups = torch.where(groups < 0, alone, groups).repeat(2)
    both = torch.cat([first, second])
    rank, size = share
    mine = torch.arange(count, device=groups.device).chunk(size)[rank]
    own = torch.cat([mine, mine + count])
    return contrastive(both[own], both, own, groups[own], groups, temperature)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two views (N, D) each (Chen et al. 2020, arXiv 2002.05709, equation 1).

    Without the factor τ/0.07 of ActiveFER's code, taken from SupContrast, which only scales the
    learning rate.
    """
    alone = torch.full((len(first),), -1, device=first.device)
    return sup_con(first, second, alone, temperature)


def _wide(x: Tensor) -> Tensor:
    """Float32, or float64 where it is that already."""
    return x if x.dtype == torch.float64 else x.float()
