"""What is drawn of a run beside what every round leaves."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt

from al_orchestrator.figures import Scale
from trainers import Saliency, SaliencyMethod

_FROZEN = ConfigDict(
    extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
)


class SaliencySheets(BaseModel):
    """Where the learner of a round looks: what `alo saliency RUN` shows, without the command.

    A sheet a class, of images drawn by the seed, the same in every round. A round waits for the
    worker that computes them, and their arrays stay in its folder: a gradient an image, or
    `samples` of them for smoothgrad. Should that fail, the run goes on without.
    """

    model_config = _FROZEN

    rounds: Literal["last", "each"] = "last"
    """Of which rounds: the one that ends the run, or each."""
    method: SaliencyMethod = "gradient"
    """The logit's gradient by each pixel, its mean over noisy copies, or the last map."""
    samples: PositiveInt = 50
    """smoothgrad: noisy copies of an image."""
    noise: NonNegativeFloat = 0.15
    """smoothgrad: deviation, as a share of the span of values."""
    scale: Scale = "image"
    """What is scaled from 0 to 1: each map, each row of its pixels, or all maps together."""
    split: Literal["val", "test"] = "test"
    """Whose images are shown, with their labels; those of the pool are not bought yet."""
    each: PositiveInt = Field(default=12, le=100)
    """Images of a class."""

    @property
    def how(self) -> Saliency:
        return Saliency(self.method, samples=self.samples, noise=self.noise)


class Reports(BaseModel):
    """What is drawn of a run beside what every round leaves."""

    model_config = _FROZEN

    saliency: SaliencySheets | None = None
    """Sheets of where the learner looks, among the artifacts of a round; `{}` for the last round's
    with defaults. None are made if not given, since they cost time."""
