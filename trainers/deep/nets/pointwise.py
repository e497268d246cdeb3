"""A 1x1 convolution of a stride that no kernel of torch's CPU library gets wrong."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

FEW_CHANNELS = 12


class PointwiseConv(nn.Conv2d):
    """(B, in, H, W) -> (B, out, ceil(H/s), ceil(W/s)); weights and names are Conv2d's.

    With few input channels the pixels are picked first and convolved after. The gradient of the
    strided convolution in oneDNN (torch 2.14, AVX-512, channels last) writes beyond its memory
    there: 8 to 16 channels of 64 pixels end in a corrupted heap, or in none that is noticed.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels >= FEW_CHANNELS or self.stride == (1, 1):
            return super().forward(x)
        rows, columns = self.stride
        return F.conv2d(x[..., ::rows, ::columns].contiguous(), self.weight)
