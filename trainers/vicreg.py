"""Pretraining by three conditions on embeddings: alike, spread out, not redundant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trainers.pretraining import Pretrainer

if TYPE_CHECKING:
    from trainers.encoders import Encoder


class VICReg(Pretrainer):
    """Variance, invariance and covariance (Bardes, Ponce & LeCun 2022, arXiv 2105.04906).

    The modern method of choice here: it has neither negatives, whose number a small machine bounds,
    nor a second network to be trained beside the first, and its terms themselves say whether the
    embedding collapses. Differs: SGD instead of LARS.
    """

    name: Literal["vicreg"] = "vicreg"
    hidden: int = Field(default=512, ge=1)
    """Width of the expander's hidden layers; 8192 in the paper."""
    projection: int = Field(default=512, ge=1)
    """Width of what is compared; 8192 in the paper."""
    invariance: float = Field(default=25.0, ge=0)
    """Weight of the distance between two views."""
    variance: float = Field(default=25.0, ge=0)
    """Weight of the spread that is missing."""
    covariance: float = Field(default=1.0, ge=0)
    """Weight of correlations between dimensions."""

    def refusal(self, encoder: Encoder, image_shape: tuple[int, int, int]) -> str | None:  # noqa: ARG002
        return None
