"""POSTER: image and landmarks ask each other, at three widths (Zheng et al., arXiv 2204.04083).

Legend: ``B`` images, ``S`` side the network sees, ``w`` channels of its first stage, ``T`` = S²/256
tokens of a stream, ``P`` = T + 1 with its class token, ``C`` width of a level.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.deep.nets.heads import DropPath
from trainers.deep.nets.ir50 import IRNet
from trainers.deep.nets.mobilefacenet import MobileFaceNet
from trainers.deep.nets.poster import MLP, Gate
from trainers.deep.nets.transformer import EPS


@dataclass(frozen=True)
class PosterV1Shape:
    """Sizes of a POSTER; its widths are 8w, 4w and 2w."""

    side: int  # S
    units: tuple[int, int, int]  # of the image network
    landmark_blocks: tuple[int, int, int]
    blocks: int  # of the pyramid
    heads: int = 8  # at each width
    mixes_tokens: bool = True  # whether a 1x1 convolution ends each fusion
    drop_path: float = 0.1  # of the last block; the first has none, those between lie on a line


def _published(blocks: int) -> PosterV1Shape:
    return PosterV1Shape(112, (3, 4, 14), (4, 6, 2), blocks)


_MIXING = {
    "poster_v1_small": _published(4),
    "poster_v1_base": _published(6),
    "poster_v1_large": _published(8),
    "poster_v1_narrow": PosterV1Shape(32, (1, 1, 1), (1, 1, 1), blocks=2, heads=2),
}

SHAPES = _MIXING | {
    f"{name}_affect": replace(shape, mixes_tokens=False) for name, shape in _MIXING.items()
}


class CrossAttention(nn.Module):
    """A stream as the tokens of the other one ask for it.

    Both (B, P, C) -> (B, P, C). Who asks does so as it is: queries have no weights of their own.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, asked: Tensor, asking: Tensor) -> Tensor:
        batch, tokens, width = asked.shape
        split = self.kv(asked).view(batch, tokens, 2, self.heads, width // self.heads)
        key, value = split.permute(2, 0, 3, 1, 4)
        query = asking.reshape(batch, tokens, self.heads, -1).transpose(1, 2).to(key.dtype)
        seen = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(seen.transpose(1, 2).reshape(batch, tokens, width))
        return out


class Fusion(nn.Module):
    """One block at one width: each stream attends to the other, then has two layers of its own.

    (B, 2P, C) -> (B, 2P, C), the image's tokens first. With `mixes_tokens` each token of the result
    is a sum of all of them.
    """

    def __init__(self, width: int, tokens: int, shape: PosterV1Shape, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn_img = CrossAttention(width, shape.heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp1 = MLP(width, ratio=2)
        self.norm3 = nn.LayerNorm(width, eps=EPS)
        self.attn_lm = CrossAttention(width, shape.heads)
        self.norm4 = nn.LayerNorm(width, eps=EPS)
        self.mlp2 = MLP(width, ratio=2)
        self.drop_path = DropPath(drop_path)
        self.conv = nn.Conv1d(tokens, tokens, 1) if shape.mixes_tokens else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        image, landmarks = x.chunk(2, dim=1)
        own, other = self.norm1(x).chunk(2, dim=1)
        image = image + self.drop_path(self.attn_img(own, other))
        image = image + self.drop_path(self.mlp1(self.norm2(image)))
        other, own = self.norm3(x).chunk(2, dim=1)
        landmarks = landmarks + self.drop_path(self.attn_lm(own, other))
        landmarks = landmarks + self.drop_path(self.mlp2(self.norm4(landmarks)))
        out: Tensor = self.conv(torch.cat([image, landmarks], dim=1))
        return out


class PyramidBlock(nn.Module):
    """A fusion at each width; then the narrower ones are added to the wider, stretched to them.

    Three of (B, 2P, C), widest first, -> the same.
    """

    def __init__(self, width: int, tokens: int, shape: PosterV1Shape, drop_path: float) -> None:
        super().__init__()
        self.block_l = Fusion(width, tokens, shape, drop_path)
        self.block_m = Fusion(width // 2, tokens, shape, drop_path)
        self.block_s = Fusion(width // 4, tokens, shape, drop_path)
        self.upsample_m = nn.ConvTranspose1d(tokens, tokens, 2, stride=2)
        self.upsample_s = nn.ConvTranspose1d(tokens, tokens, 2, stride=2)

    def forward(self, levels: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        large, medium, small = levels
        small = self.block_s(small)
        medium = self.block_m(medium) + self.upsample_s(small)
        return self.block_l(large) + self.upsample_m(medium), medium, small


class Pyramid(nn.Module):
    """Two streams (B, T, C) -> (B, C): the image's class token after the last block, normed.

    A class token begins as the mean of its stream; positions are told of the image alone. The two
    narrower levels are made by convolutions along the width, over all tokens.
    """

    def __init__(self, width: int, places: int, shape: PosterV1Shape) -> None:
        super().__init__()
        tokens = 2 * (places + 1)
        self.pos_embed = nn.Parameter(torch.empty(1, places + 1, width))
        self.downsample_m = nn.Conv1d(tokens, tokens, 2, stride=2)
        self.downsample_s = nn.Conv1d(tokens, tokens, 4, stride=4)
        rates = [shape.drop_path * n / (shape.blocks - 1) for n in range(shape.blocks)]
        self.blocks = nn.Sequential(*(PyramidBlock(width, tokens, shape, rate) for rate in rates))
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        image = torch.cat([image.mean(1, keepdim=True), image], dim=1) + self.pos_embed
        landmarks = torch.cat([landmarks.mean(1, keepdim=True), landmarks], dim=1)
        x = torch.cat([image, landmarks.to(image.dtype)], dim=1)
        large, _, _ = self.blocks((x, self.downsample_m(x), self.downsample_s(x)))
        out: Tensor = self.norm(large[:, 0])
        return out


class PosterV1(nn.Module):
    """Images (B, 3, H, W) -> embeddings (B, 8w) float32: the image's class token behind its gate.

    Images are resized to S x S by their nearest pixels, as published. Names of parameters are the
    published ones, with POSTER V2's for the image network.
    """

    def __init__(self, shape: PosterV1Shape, *, width: int) -> None:
        super().__init__()
        self.side = shape.side
        self.places = (shape.side // 16) ** 2
        self.embedding_width = 8 * width
        self.face_landback = MobileFaceNet(width=width, blocks=shape.landmark_blocks)
        self.ir_back = IRNet(width=width, units=shape.units)
        self.ir_layer = nn.Linear(16 * width, 8 * width)
        self.pyramid_fuse = Pyramid(8 * width, self.places, shape)
        self.se_block = Gate(8 * width)

    def streams(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, 8w) of image and landmarks.

        A token of the landmarks is a place. A token of the image is not: the published code reads
        the map (4w, S/8, S/8) on as T rows of 16w values, so each has a few channels' whole maps.
        """
        seen = F.interpolate(images, size=(self.side, self.side))
        *_, deepest = self.ir_back(seen)
        *_, landmarks = self.face_landback(seen)
        image: Tensor = self.ir_layer(deepest.flatten(1).unflatten(1, (self.places, -1)))
        return image, landmarks.flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.se_block(self.pyramid_fuse(*self.streams(images)))
        return embeddings.to(torch.float32)

    def draw(self, _rng: torch.Generator) -> None:
        """What is neither a layer nor a norm: positions, which begin at 0, as published."""
        nn.init.zeros_(self.pyramid_fuse.pos_embed)
