"""A centre for every class, to which embeddings are drawn: what YAML may set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class CenterLoss(BaseModel):
    """Cross-entropy plus `weight` times the squared distance of embeddings to their class's centre.

    `attentive` is the sparse centre loss of DACL (Farzaneh & Qi 2021, "Facial Expression
    Recognition in the Wild via Deep Attentive Center Loss", WACV): each dimension of the distance
    is weighed by what an attention network makes of the last map. `plain` weighs all alike (Wen et
    al. 2016).

    Centres are part of the checkpoint, so a killed fit goes on with them; the published code loses
    them.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    kind: Literal["attentive", "plain"] = "attentive"
    """Whether an attention network weighs the dimensions."""
    weight: float = Field(default=0.01, ge=0)
    """λ, weight of the loss. It leaves the `moving_average` of the centres alone."""
    rate: float = Field(default=0.5, gt=0, le=1)
    """α, how fast centres follow."""
    update: Literal["moving_average", "gradient"] = "moving_average"
    """As published: towards the class's embeddings, over 1 + their number; or along the gradient of
    the weighted loss."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (
        3584,
        512,
        64,
    )
    """Widths of the attention network's layers; the last one goes through tanh."""
