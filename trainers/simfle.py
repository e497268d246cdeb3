"""SimFLE: a whole face and its landmarks, learned without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trainers.pretraining import Pretrainer

if TYPE_CHECKING:
    from trainers.encoders import Encoder


class SimFLE(Pretrainer):
    """BYOL beside a masked autoencoder of faces whose masks follow the encoder's own attention.

    Moon & Park 2023 (arXiv 2303.07648) and their code: the encoder learns by predicting a second
    view (L_s) and from what both branches agree on (L_d); the autoencoder sees the 12 of 49 patches
    that one group of channels finds most active, and paints the rest (L_r); channels of a group are
    kept alike (L_g). The total is L_s + L_r + `distillation` L_d + `grouping` L_g.

    Differs: the 1x1 convolution of the grouping starts at 1 plus small seeded noise, where theirs
    starts all equal and only rounding breaks the symmetry; the face that the autoencoder is shown
    leaves the batch-norm statistics of the encoder alone unless `face_statistics` says otherwise.
    The mask is a sort, through which no gradient passes, as in their code, against their abstract.
    """

    name: Literal["simfle"] = "simfle"
    hidden: int = Field(default=4096, ge=1)
    """Width of the hidden layers of projectors and predictor."""
    projection: int = Field(default=256, ge=1)
    """Width of what is predicted and distilled."""
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Share of the target's weights that stays in a step."""
    face_mae: Literal["tiny", "small", "base"] = "small"
    """Size of the autoencoder: faces of 28, 56 or 112 pixels, always 7 x 7 patches."""
    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of the patches that is hidden."""
    groups: int = Field(default=32, ge=2)
    """G, groups of consecutive channels; divides the channels of the encoder's last map."""
    distillation: float = Field(default=0.3, ge=0)
    """Weight of L_d."""
    grouping: float = Field(default=0.03, ge=0)
    """Weight of L_g."""
    temperature: float = Field(default=4.0, gt=0)
    """Of the softmax in L_d."""
    face_statistics: bool = False
    """Let the face shown to the autoencoder, of another resolution, move the encoder's batch-norm
    statistics too, as the published code does."""

    def refusal(self, encoder: Encoder, image_shape: tuple[int, int, int]) -> str | None:
        height, width, channels = image_shape
        if height != width:
            return (
                f"simfle cuts faces into 7 x 7 patches and needs square images, these are "
                f"{height}x{width}; crop them, or take another method"
            )
        if channels not in (1, 3):
            return f"simfle needs grey or colour images, these have {channels} channels"
        if encoder.channels % self.groups:
            return (
                f"pretrain.groups {self.groups} does not divide the {encoder.channels} channels "
                f"of {encoder.name}; take a divisor"
            )
        return None
