"""Three of the four stages of ArcFace's improved residual network, as POSTER takes them.

Legend: ``B`` images, ``S`` side in pixels, ``w`` channels of the first stage.
"""

from __future__ import annotations

from torch import Tensor, nn

from trainers.deep.nets.pointwise import PointwiseConv


class IRBlock(nn.Module):
    """Norms and convolutions beside a shortcut, and nothing after the sum (Deng et al. 2019).

    The stride is in the second convolution. The shortcut is subsampling where the channels stay,
    else a 1x1 convolution with batch norm.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if in_channels != channels:
            self.shortcut_layer = nn.Sequential(
                PointwiseConv(in_channels, channels, stride), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class IRNet(nn.Module):
    """(B, 3, S, S) -> maps (B, w, S/2, S/2), (B, 2w, S/4, S/4), (B, 4w, S/8, S/8).

    IR-50 has `width` 64 and `units` 3, 4 and 14. Names of parameters are POSTER V2's.
    """

    def __init__(self, *, width: int, units: tuple[int, int, int]) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        self.body1 = _stage(width, width, units[0])
        self.body2 = _stage(width, 2 * width, units[1])
        self.body3 = _stage(2 * width, 4 * width, units[2])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.body1(self.input_layer(images))
        second = self.body2(first)
        return first, second, self.body3(second)


def _stage(in_channels: int, channels: int, units: int) -> nn.Sequential:
    rest = (IRBlock(channels, channels, 1) for _ in range(1, units))
    return nn.Sequential(IRBlock(in_channels, channels, 2), *rest)
