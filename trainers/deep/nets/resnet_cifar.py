"""Residual networks for small images: a 3x3 stem of stride 1 and no pooling before the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.deep.nets.pointwise import PointwiseConv


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, arXiv 1512.03385, section 3.3).

    The shortcut is a 1x1 convolution with batch norm where the shape changes, else the identity.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                PointwiseConv(in_channels, channels, stride), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        # The sum is not in place: the shortcut may be the identity, whose output is still needed.
        return F.relu(out + self.shortcut(x), inplace=True)


class CifarResNet(nn.Module):
    """Four stages of basic blocks of width w, 2w, 4w, 8w and strides 1, 2, 2, 2.

    Images (B, Ch, H, W) -> embeddings (B, 8w) float32. Names of parameters are those of the
    contrastive checkpoints of ActiveFER: `conv1`, `bn1`, `layer1.0.conv1`, `layer2.0.shortcut.0`.
    """

    def __init__(self, *, blocks: Sequence[int], width: int, in_channels: int) -> None:
        super().__init__()
        self.embedding_width = 8 * width
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks[0], stride=1)
        self.layer2 = _stage(width, 2 * width, blocks[1], stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks[2], stride=2)
        self.layer4 = _stage(4 * width, 8 * width, blocks[3], stride=2)
        self.last_map = nn.Identity()  # what Grad-CAM looks at

    def maps(self, images: Tensor) -> Tensor:
        """(B, Ch, H, W) -> (B, 8w, H/8, W/8), the last map before it is pooled."""
        x: Tensor = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        last: Tensor = self.last_map(self.layer4(x))
        return last

    def forward(self, images: Tensor) -> Tensor:
        # In float32 even where the convolutions are not: scores compare small differences.
        return self.maps(images).mean((2, 3), dtype=torch.float32)


def _stage(in_channels: int, channels: int, count: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(1, count)))
