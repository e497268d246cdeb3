"""Pretraining without negatives: one network predicts what a slower copy of it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trainers.pretraining import Pretrainer

if TYPE_CHECKING:
    from trainers.encoders import Encoder


class BYOL(Pretrainer):
    """Bootstrap your own latent (Grill et al. 2020, arXiv 2006.07733).

    Differs: SGD instead of LARS, and a constant momentum of the target, as SimFLE's branch has it.
    """

    name: Literal["byol"] = "byol"
    hidden: int = Field(default=4096, ge=1)
    """Width of the hidden layers of projector and predictor."""
    projection: int = Field(default=256, ge=1)
    """Width of what is predicted."""
    momentum: float = Field(default=0.99, ge=0, lt=1)
    """Share of the target's weights that stays in a step."""

    def refusal(self, encoder: Encoder, image_shape: tuple[int, int, int]) -> str | None:  # noqa: ARG002
        return None
