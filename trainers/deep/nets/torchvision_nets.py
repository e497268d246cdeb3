"""torchvision's residual networks, up to their global average pool."""

from __future__ import annotations

from typing import Literal

import torch
import torchvision
from torch import Tensor, nn


class TorchvisionResNet(nn.Module):
    """resnet18 or resnet50: 7x7 stem of stride 2 and a max pool, for images of 96 pixels and more.

    Images (B, Ch, H, W) -> embeddings (B, 512 or 2048) float32. Names of parameters are
    torchvision's own, without `fc`.
    """

    def __init__(self, name: Literal["resnet18", "resnet50"], *, in_channels: int) -> None:
        super().__init__()
        net = getattr(torchvision.models, name)(weights=None)
        self.embedding_width = int(net.fc.in_features)
        stem = net.conv1
        if in_channels != stem.in_channels:
            stem = nn.Conv2d(in_channels, stem.out_channels, 7, 2, padding=3, bias=False)
        self.conv1, self.bn1, self.relu, self.maxpool = stem, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = net.layer3, net.layer4
        self.last_map = nn.Identity()  # what Grad-CAM looks at

    def maps(self, images: Tensor) -> Tensor:
        """(B, Ch, H, W) -> (B, D, H/32, W/32), the last map before it is pooled."""
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer3(self.layer2(self.layer1(x)))
        last: Tensor = self.last_map(self.layer4(x))
        return last

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images).mean((2, 3), dtype=torch.float32)
