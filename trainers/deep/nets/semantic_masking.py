"""Which patches of a face SimFLE shows: those one group of channels finds most active."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

JITTER = 0.01
"""Deviation of the grouping's first weights around 1."""


class SemanticMasking(nn.Module):
    """A 1x1 convolution, batch norm and ReLU whose channels form groups (arXiv 2303.07648).

    Features (B, C, h, w) are to be detached by the caller: no loss of this part is the encoder's.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.convolution = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def activations(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w) float32, none negative.

        In float32 even where the rest is not: at first channels differ by less than bfloat16 tells.
        """
        with torch.autocast(features.device.type, enabled=False):
            return F.relu(self.norm(self.convolution(features.float())))

    @torch.no_grad()
    def patch_scores(
        self, activations: Tensor, group: Tensor, image_size: int, side: int
    ) -> Tensor:
        """(B, side²): how active one group is in each patch of the image.

        Args:
            activations: (B, C, h, w).
            group: (B,) of each image, drawn by the caller.
            image_size: Of the face that will be cut into patches.
            side: Patches along an edge.
        """
        batch, channels, height, width = activations.shape
        by_group = activations.view(batch, self.groups, channels // self.groups, height, width)
        maps = by_group[torch.arange(batch, device=group.device), group].sum(1, keepdim=True)
        blown_up = F.interpolate(
            maps, (image_size, image_size), mode="bilinear", align_corners=False
        )
        return F.avg_pool2d(blown_up, image_size // side).flatten(1)

    def draw(self, rng: torch.Generator, jitter: float = JITTER) -> None:
        """Weights 1 plus noise and bias 0.1.

        Without noise, as in the published code, all channels are equal and get equal gradients;
        only rounding tells them apart, and other hardware rounds otherwise.
        """
        with torch.no_grad():
            self.convolution.weight.normal_(1, jitter, generator=rng)
            nn.init.constant_(self.convolution.bias, 0.1)  # type: ignore[arg-type]
        self.norm.reset_parameters()


def kept_tokens(tokens: int, mask_ratio: float) -> int:
    """⌊tokens (1 - mask_ratio)⌋, and at least one: 12 of 49 at 0.75."""
    share = 1 - Fraction(mask_ratio).limit_denominator(10**6)
    return max(1, int(tokens * share))
