"""The FER2013 VGG of usef-kh/fer: crops of 40 pixels in, 4,096 numbers out.

Legend: ``B`` images, ``w`` channels of the first stage.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.deep.nets.heads import SeededDropout

SIDE = 40
DROPOUT = 0.2  # what the published network is built with; its option of 0.1 never took effect


class FERVGG(nn.Module):
    """Four stages of two 3x3 convolutions and a pooling, then two wide layers.

    Images (B, Ch, 40, 40) -> embeddings (B, 64w) float32. Dropout comes before ReLU, as published.
    Names of parameters are the published ones, without `lin3`, which is the head.
    """

    def __init__(self, *, width: int, in_channels: int) -> None:
        super().__init__()
        self.embedding_width = 64 * width
        channels = in_channels
        for stage in range(4):
            for half in "ab":
                wider = width * 2**stage
                setattr(self, f"conv{stage + 1}{half}", nn.Conv2d(channels, wider, 3, padding=1))
                setattr(self, f"bn{stage + 1}{half}", nn.BatchNorm2d(wider))
                channels = wider
        # What Grad-CAM looks at: 5 x 5 places, before the last pooling.
        self.last_map = nn.Identity()
        self.lin1 = nn.Linear(channels * (SIDE // 16) ** 2, 64 * width)
        self.drop1 = SeededDropout(DROPOUT)
        self.lin2 = nn.Linear(64 * width, 64 * width)
        self.drop2 = SeededDropout(DROPOUT)

    def maps(self, images: Tensor) -> Tensor:
        """(B, Ch, 40, 40) -> (B, 8w, 2, 2).

        Raises:
            ValueError: The images are of another size. The published code reshapes them into
                another number of images, and says nothing.
        """
        if images.shape[-2:] != (SIDE, SIDE):
            raise ValueError(
                f"this network sees images of {SIDE} x {SIDE} pixels, these are "
                f"{images.shape[-2]} x {images.shape[-1]}; set trainer.crops: {{size: {SIDE}}}"
            )
        x = images
        for stage in range(1, 5):
            for half in "ab":
                conv, norm = getattr(self, f"conv{stage}{half}"), getattr(self, f"bn{stage}{half}")
                x = F.relu(norm(conv(x)), inplace=True)
            if stage == 4:
                x = self.last_map(x)
            x = F.max_pool2d(x, 2)
        return x

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.lin1(self.maps(images).flatten(1))
        x = self.lin2(F.relu(self.drop1(x)))
        return F.relu(self.drop2(x)).to(torch.float32)
