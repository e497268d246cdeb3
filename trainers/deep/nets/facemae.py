"""FaceMAE: a masked autoencoder whose visible patches somebody else has chosen.

Legend: ``B`` images, ``Ch`` channels, ``P`` patches, ``V`` values of a patch, ``k`` patches kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.deep.nets.drawing import draw_layers
from trainers.deep.nets.transformer import EPS, Block, sincos_positions


@dataclass(frozen=True)
class FaceMAEPlan:
    """Sizes of an autoencoder."""

    image_size: int
    patch: int
    channels: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int

    def __post_init__(self) -> None:
        if self.image_size % self.patch:
            raise ValueError(
                f"a face of {self.image_size} pixels cannot be cut into patches of {self.patch}"
            )

    @property
    def side(self) -> int:
        return self.image_size // self.patch

    @property
    def values(self) -> int:
        """V, numbers in a patch."""
        return self.patch**2 * self.channels


FACE_MAE: Mapping[str, Callable[[int], FaceMAEPlan]] = {
    "tiny": lambda channels: FaceMAEPlan(28, 4, channels, 32, 2, 4, 32, 1, 4),
    "small": lambda channels: FaceMAEPlan(56, 8, channels, 192, 6, 6, 128, 2, 4),
    "base": lambda channels: FaceMAEPlan(112, 16, channels, 768, 12, 12, 512, 8, 16),
}
"""By name, for images of so many channels; `base` is the published one. Always 7 x 7 patches."""


@dataclass(frozen=True, eq=False)
class FaceMAEOutput:
    """What the autoencoder makes of a face."""

    tokens_mean: Tensor  # (B, width), of encoded patches without CLS
    predicted: Tensor  # (B, P, V)
    target: Tensor  # (B, P, V), the image itself, patch by patch
    masked: Tensor  # (B, P) bool
    kept: Tensor  # (B, k) patches, the highest score first


class FaceMAE(nn.Module):
    """ViT encoder of the visible patches, ViT decoder of all (He et al. 2022, arXiv 2111.06377)."""

    def __init__(self, plan: FaceMAEPlan) -> None:
        super().__init__()
        self.plan = plan
        self.positions: Tensor
        self.decoder_positions: Tensor
        patches = plan.side**2
        self.embed = nn.Linear(plan.values, plan.width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, plan.width))
        self.register_buffer("positions", torch.empty(1 + patches, plan.width))
        self.blocks = nn.ModuleList(Block(plan.width, plan.heads) for _ in range(plan.depth))
        self.norm = nn.LayerNorm(plan.width, eps=EPS)
        self.decoder_embed = nn.Linear(plan.width, plan.decoder_width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, plan.decoder_width))
        self.register_buffer("decoder_positions", torch.empty(1 + patches, plan.decoder_width))
        self.decoder_blocks = nn.ModuleList(
            Block(plan.decoder_width, plan.decoder_heads) for _ in range(plan.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(plan.decoder_width, eps=EPS)
        self.predict = nn.Linear(plan.decoder_width, plan.values)

    def forward(self, images: Tensor, scores: Tensor, keep: int) -> FaceMAEOutput:
        """Shows the `keep` patches of the highest scores, and paints every patch.

        Args:
            images: (B, Ch, s, s).
            scores: (B, P); of equal ones the first patch counts as higher.
            keep: k.
        """
        target = patchify(images, self.plan.patch)
        order = scores.argsort(dim=1, descending=True, stable=True)
        kept = order[:, :keep]
        encoded = self._encode(target, kept)
        masked = torch.ones(scores.shape, dtype=torch.bool, device=scores.device)
        masked = masked.scatter(1, kept, False)
        return FaceMAEOutput(
            tokens_mean=encoded[:, 1:].mean(1),
            predicted=self._decode(encoded, order),
            target=target,
            masked=masked,
            kept=kept,
        )

    def draw(self, rng: torch.Generator) -> None:
        """Linear layers as torch draws them, tokens normal with deviation 0.02."""
        draw_layers(self, rng)
        side, width = self.plan.side, self.plan.width
        with torch.no_grad():
            for token in (self.cls_token, self.mask_token):
                token.normal_(0, 0.02, generator=rng)
            self.positions.copy_(sincos_positions(side, width, with_cls=True))
            width = self.plan.decoder_width
            self.decoder_positions.copy_(sincos_positions(side, width, with_cls=True))

    def _encode(self, patches: Tensor, kept: Tensor) -> Tensor:
        """(B, 1 + k, width): CLS, then the kept patches in their order."""
        tokens = _gather(self.embed(patches) + self.positions[1:], kept)
        cls = (self.cls_token + self.positions[:1]).expand(len(tokens), -1, -1)
        tokens = torch.cat([cls.to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out

    def _decode(self, encoded: Tensor, order: Tensor) -> Tensor:
        """(B, P, V): what was kept and, elsewhere, mask tokens, each back at its own place."""
        tokens = self.decoder_embed(encoded)
        hidden = self.mask_token.expand(len(tokens), order.shape[1] + 1 - tokens.shape[1], -1)
        sorted_ = torch.cat([tokens[:, 1:], hidden.to(tokens.dtype)], dim=1)
        placed = _gather(sorted_, order.argsort(dim=1))
        x = torch.cat([tokens[:, :1], placed], dim=1) + self.decoder_positions
        for block in self.decoder_blocks:
            x = block(x)
        out: Tensor = self.predict(self.decoder_norm(x))[:, 1:]
        return out


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, Ch, s, s) -> (B, P, patch² Ch): patches row by row, in each rows, columns, channels."""
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, channels: int) -> Tensor:
    """(B, P, patch² Ch) of a square image -> (B, Ch, s, s); the inverse of `patchify`."""
    batch, count, _ = patches.shape
    side = round(count**0.5)
    cut = patches.reshape(batch, side, side, patch, patch, channels)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, side * patch, side * patch)


def _gather(tokens: Tensor, rows: Tensor) -> Tensor:
    """(B, T, width) at (B, k) -> (B, k, width)."""
    return tokens.gather(1, rows[:, :, None].expand(-1, -1, tokens.shape[2]))
