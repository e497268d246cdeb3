"""Crops of an image seen at once, in training and in scoring: what YAML may set."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Crops(BaseModel):
    """Four corners and the centre, each also mirrored: ten crops of every image (or one).

    In training each crop is an example of its own, so a minibatch holds ten times as many; in
    scoring the embeddings of the ten are averaged, and with a linear head so are their logits, as
    Krizhevsky et al. 2012 average predictions. The crops are taken from the augmented image.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    size: int = Field(ge=8)
    """Side of a crop in pixels, at most the image's."""
    ten: bool = True
    """All ten; otherwise one, at a random place in training and at the centre in scoring."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Share of the crops in training that lose a random rectangle (Zhong et al. 2020, arXiv
    1708.04896): 2 to 33 % of the area, sides 0.3 to 3.3 to 1, filled with the mean."""
