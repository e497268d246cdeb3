"""What SimFLE adds to BYOL's loss (Moon & Park 2023, arXiv 2303.07648, and its code).

Legend: ``B`` images, ``C`` channels, ``P`` patches, ``V`` values of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def block_matrix(channels: int, groups: int) -> Tensor:
    """(C, C): 1 where two channels are of one group of consecutive channels, else 0."""
    group = torch.arange(channels) // (channels // groups)
    return (group[:, None] == group).to(torch.float32)


def group_similarity(activations: Tensor) -> Tensor:
    """(B, C, h, w) -> (C, C), the cosine of two channels' maps, as a mean over images."""
    flat = F.normalize(activations.flatten(2) + 0.001, dim=2)
    with torch.autocast(flat.device.type, enabled=False):  # bfloat16 blurs an almost equal start
        return (flat @ flat.mT).mean(0)


def grouping(similarity: Tensor, groups: int) -> Tensor:
    """g: how far channels are from being alike within groups and unlike across, times 0.001.

    Summed over all pairs of `group_similarity` (C, C) and divided by (C / 512)^2, so that it does
    not grow with C.
    """
    channels = len(similarity)
    wanted = block_matrix(channels, groups).to(similarity)
    miss = (similarity - wanted).pow(2).sum()
    return 0.001 * miss / (channels / 512) ** 2


def grouping_loss(similarity: Tensor, groups: int) -> Tensor:
    """L_g = g^2: the published code takes the squared error of g to zero."""
    return grouping(similarity, groups).pow(2)


def distillation(outputs: Sequence[Tensor], temperature: float = 4.0) -> Tensor:
    """L_d: T^2 KL(softmax(mean / T) || softmax(u_k / T)), summed over k, a mean over images.

    Each of the outputs is (B, K); no gradient passes through their mean.
    """
    mean = torch.stack([*outputs]).mean(0).detach()
    wanted = F.log_softmax(mean / temperature, dim=1)
    parts = [
        F.kl_div(
            F.log_softmax(u / temperature, dim=1), wanted, reduction="batchmean", log_target=True
        )
        for u in outputs
    ]
    return temperature**2 * torch.stack(parts).sum()


def reconstruction(predicted: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """L_r: squared error of masked patches, each target patch standardised by its own values.

    Args:
        predicted: (B, P, V).
        target: (B, P, V), as they are.
        masked: (B, P), True or 1 where a patch was hidden.
    """
    mean = target.mean(2, keepdim=True)
    spread = (target.var(2, keepdim=True) + 1e-6).sqrt()
    errors = (predicted - (target - mean) / spread).pow(2).mean(2)
    hidden = masked.to(errors)
    return (errors * hidden).sum() / hidden.sum()
