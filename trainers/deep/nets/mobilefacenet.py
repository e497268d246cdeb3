"""MobileFaceNet as POSTER takes facial landmarks' features from it, without its last layer.

Legend: ``B`` images, ``S`` side in pixels, ``w`` channels of the first stage.
"""

from __future__ import annotations

from torch import Tensor, nn


class ConvBlock(nn.Module):
    """A convolution with batch norm and PReLU."""

    def __init__(
        self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = _conv(before, after, kernel, stride, groups)
        self.bn = nn.BatchNorm2d(after)
        self.prelu = nn.PReLU(after)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prelu(self.bn(self.conv(x)))
        return out


class LinearBlock(nn.Module):
    """A 1x1 convolution with batch norm and nothing after."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = _conv(before, after, 1, 1, 1)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class DepthWise(nn.Module):
    """Wider, over space channel by channel, narrower (Sandler et al. 2018, arXiv 1801.04381)."""

    def __init__(self, before: int, after: int, groups: int, *, stride: int = 1) -> None:
        super().__init__()
        self.residual = stride == 1
        self.conv = ConvBlock(before, groups, 1)
        self.conv_dw = ConvBlock(groups, groups, 3, stride=stride, groups=groups)
        self.project = LinearBlock(groups, after)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + out if self.residual else out


class Residuals(nn.Module):
    """Depth-wise blocks, each beside a shortcut."""

    def __init__(self, channels: int, blocks: int, groups: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(DepthWise(channels, channels, groups) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class MobileFaceNet(nn.Module):
    """(B, 3, S, S) -> maps (B, w, S/4, S/4), (B, 2w, S/8, S/8), (B, 8w, S/16, S/16).

    As published (Chen et al. 2018, arXiv 1804.07573) `width` is 64 and `blocks` are 4, 6 and 2.
    Names of parameters are those of the landmark network of POSTER.
    """

    def __init__(self, *, width: int, blocks: tuple[int, int, int]) -> None:
        super().__init__()
        w = width
        self.conv1 = ConvBlock(3, w, 3, stride=2)
        self.conv2_dw = ConvBlock(w, w, 3, groups=w)
        self.conv_23 = DepthWise(w, w, 2 * w, stride=2)
        self.conv_3 = Residuals(w, blocks[0], 2 * w)
        self.conv_34 = DepthWise(w, 2 * w, 4 * w, stride=2)
        self.conv_4 = Residuals(2 * w, blocks[1], 4 * w)
        self.conv_45 = DepthWise(2 * w, 2 * w, 8 * w, stride=2)
        self.conv_5 = Residuals(2 * w, blocks[2], 4 * w)
        self.conv_6_sep = ConvBlock(2 * w, 8 * w, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(images))))
        second = self.conv_4(self.conv_34(first))
        return first, second, self.conv_6_sep(self.conv_5(self.conv_45(second)))


def _conv(before: int, after: int, kernel: int, stride: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
