"""POSTER V2: landmarks ask, the image answers, at three sizes (Mao et al. 2023, arXiv 2301.12149).

Legend: ``B`` images, ``S`` side the network sees, ``w`` channels of its first stage, ``T`` = S²/256
tokens of the smallest map, ``V`` width of the transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.deep.nets.heads import DropPath
from trainers.deep.nets.ir50 import IRNet
from trainers.deep.nets.mobilefacenet import MobileFaceNet
from trainers.deep.nets.transformer import EPS, Block

HEADS = (2, 4, 8)  # of each level's cross-attention; a head has w/2 dimensions
LAYER_SCALE = 1e-5


@dataclass(frozen=True)
class PosterShape:
    """Sizes of a POSTER V2."""

    side: int  # S
    units: tuple[int, int, int]  # of the image network
    landmark_blocks: tuple[int, int, int]
    transformer: int  # V, in units of w
    blocks: int = 2  # of the transformer
    heads: int = 8  # of the transformer
    drop_path: tuple[float, float, float] = (0.0, 0.125, 0.25)


SHAPES = {
    "poster_v2": PosterShape(112, (3, 4, 14), (4, 6, 2), transformer=12),
    "poster_v2_narrow": PosterShape(32, (1, 1, 1), (1, 1, 1), transformer=4),
}


class CrossAttention(nn.Module):
    """Each place of the image as the landmarks' queries see it.

    Image (B, P, C) and queries (B, P, C) of P = side² places -> (B, P, C). One window is the
    whole map, as with the published sizes. The bias depends on the two places' offset alone
    (Liu et al. 2021, arXiv 2103.14030, section 3.2).
    """

    def __init__(self, channels: int, side: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * side - 1) ** 2, heads))
        self.side = side
        self.qkv = nn.Linear(channels, 2 * channels)  # of keys and values; the name is published
        self.proj = nn.Linear(channels, channels)

    def forward(self, image: Tensor, queries: Tensor) -> Tensor:
        batch, places, channels = image.shape
        split = self.qkv(image).view(batch, places, 2, self.heads, channels // self.heads)
        key, value = split.permute(2, 0, 3, 1, 4)
        query = queries.view(batch, places, self.heads, -1).transpose(1, 2).to(key.dtype)
        table = self.relative_position_bias_table[relative_offsets(self.side).to(key.device)]
        bias = table.permute(2, 0, 1).to(key.dtype)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        out: Tensor = self.proj(seen.transpose(1, 2).reshape(batch, places, channels))
        return out


@cache
def relative_offsets(side: int) -> Tensor:
    """(side², side²) int64: for each pair of places the number of their offset, row by row."""
    at = torch.tensor([*product(range(side), range(side))])
    apart = at[:, None] - at[None] + (side - 1)
    return apart[..., 0] * (2 * side - 1) + apart[..., 1]


class FeedForward(nn.Module):
    """Adds attention, then two layers, each scaled by learnt numbers that begin near 0."""

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.empty(channels))
        self.gamma2 = nn.Parameter(torch.empty(channels))
        self.norm = nn.LayerNorm(channels)
        self.mlp = MLP(channels)
        self.drop1, self.drop2 = DropPath(drop_path), DropPath(drop_path)

    def forward(self, shortcut: Tensor, attended: Tensor) -> Tensor:
        x = shortcut + self.drop1(self.gamma1 * attended)
        out: Tensor = x + self.drop2(self.gamma2 * self.mlp(self.norm(x)))
        return out


class MLP(nn.Module):
    """Two layers, the hidden one `ratio` times as wide."""

    def __init__(self, channels: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, ratio * channels)
        self.fc2 = nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Gate(nn.Module):
    """Each dimension times what two layers make of all of them, between 0 and 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * torch.sigmoid(self.linear2(F.relu(self.linear1(x))))
        return out


class Transformer(nn.Module):
    """Tokens (B, 3T, V) -> (B, V): a class token's last state, gated."""

    def __init__(self, tokens: int, width: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + tokens, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.se_block = Gate(width)

    def forward(self, tokens: Tensor) -> Tensor:
        first = self.cls_token.expand(len(tokens), -1, -1).to(tokens.dtype)
        x = self.blocks(torch.cat([first, tokens], dim=1) + self.pos_embed)
        gated: Tensor = self.se_block(self.norm(x[:, 0]))
        return gated


class PosterV2(nn.Module):
    """Images (B, 3, H, W) -> embeddings (B, V) float32: the class token behind its gate.

    Images are resized to S x S by their nearest pixels, as published. Names of parameters are the
    published ones, without those that no output depends on.
    """

    def __init__(self, shape: PosterShape, *, width: int) -> None:
        super().__init__()
        self.shape = shape
        self.embedding_width = shape.transformer * width
        self.ir_back = IRNet(width=width, units=shape.units)
        self.face_landback = MobileFaceNet(width=width, blocks=shape.landmark_blocks)
        self.last_face_conv = nn.Conv2d(8 * width, 4 * width, 3, padding=1)
        for level, heads in enumerate(HEADS, start=1):
            channels, side = width * 2 ** (level - 1), shape.side // 2 ** (level + 1)
            setattr(self, f"conv{level}", nn.Conv2d(channels, channels, 3, 2, padding=1))
            setattr(self, f"window{level}", Window(channels))
            setattr(self, f"attn{level}", CrossAttention(channels, side, heads))
            setattr(self, f"ffn{level}", FeedForward(channels, shape.drop_path[level - 1]))
        wide = self.embedding_width
        self.embed_q = nn.Sequential(
            nn.Conv2d(width, wide, 3, 2, padding=1), nn.Conv2d(wide, wide, 3, 2, padding=1)
        )
        self.embed_k = nn.Sequential(nn.Conv2d(2 * width, wide, 3, 2, padding=1))
        self.embed_v = PatchEmbedding(4 * width, wide)
        # What Grad-CAM looks at: all that the transformer is given, (B, 3V, S/16, S/16).
        self.last_map = nn.Identity()
        tokens = 3 * (shape.side // 16) ** 2
        self.VIT = Transformer(tokens, wide, shape.blocks, shape.heads)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Maps (B, w, S/4, S/4), (B, 2w, S/8, S/8), (B, 4w, S/16, S/16) after cross-attention."""
        seen = F.interpolate(images, size=(self.shape.side, self.shape.side))
        *landmarks, deepest = self.face_landback(seen)
        landmarks.append(self.last_face_conv(deepest))
        out = []
        for level, (image, asking) in enumerate(
            zip(self.ir_back(seen), landmarks, strict=True), start=1
        ):
            smaller = getattr(self, f"conv{level}")(image)
            side = smaller.shape[-1]
            places = getattr(self, f"window{level}").norm(smaller.flatten(2).transpose(1, 2))
            queries = asking.flatten(2).transpose(1, 2)
            attended = getattr(self, f"attn{level}")(places, queries)
            answered = getattr(self, f"ffn{level}")(places, attended)
            out.append(answered.transpose(1, 2).unflatten(2, (side, side)))
        return out

    def forward(self, images: Tensor) -> Tensor:
        first, second, third = self.levels(images)
        maps = self.embed_q(first), self.embed_k(second), self.embed_v(third)
        tapped = self.last_map(torch.cat(maps, dim=1)).chunk(3, dim=1)
        tokens = torch.cat([each.flatten(2).transpose(1, 2) for each in tapped], dim=1)
        embeddings: Tensor = self.VIT(tokens).to(torch.float32)
        return embeddings

    def draw(self, rng: torch.Generator) -> None:
        """What is neither a layer nor a norm: normal of 0.02, cut at ±2; and the layer scale."""
        for name, weight in self.named_parameters():
            last = name.rpartition(".")[2]
            if last in ("relative_position_bias_table", "cls_token", "pos_embed"):
                nn.init.trunc_normal_(weight, std=0.02, generator=rng)
            elif last in ("gamma1", "gamma2"):
                nn.init.constant_(weight, LAYER_SCALE)


class Window(nn.Module):
    """The norm before a level's attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)


class PatchEmbedding(nn.Module):
    """A 1x1 convolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out
