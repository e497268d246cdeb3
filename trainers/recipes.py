"""What YAML may set about gradient training, whatever is trained: optimiser, views, stop rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.optimizers import SAM, SGD, AnySchedule, Cosine, Optimizer

Precision = Literal["float32", "bfloat16", "auto"]

_FROZEN = ConfigDict(
    extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
)


class PadCrop(BaseModel):
    """A window of the image's own size out of the image framed in black, perhaps mirrored."""

    model_config = _FROZEN

    name: Literal["pad_crop"] = "pad_crop"
    padding: int = Field(default=4, ge=0)
    """Width of the frame, in pixels."""
    flip: bool = True
    """Mirror every other image, by chance."""


class ResizedCrop(BaseModel):
    """A part of the image, blown up to its size, perhaps mirrored (Szegedy et al. 2015)."""

    model_config = _FROZEN

    name: Literal["resized_crop"] = "resized_crop"
    min_area: float = Field(default=0.2, gt=0, le=1)
    """Smallest share of the image's area that is kept; the largest is all of it."""
    max_aspect: float = Field(default=4 / 3, ge=1)
    """Largest ratio of the part's sides, either way."""
    flip: bool = True
    """Mirror every other image, by chance."""


Augmentation = Annotated[PadCrop | ResizedCrop, Field(discriminator="name")]


class Erasing(BaseModel):
    """Rectangles of mean colour over some images in training (Zhong et al. 2020).

    arXiv 1708.04896; sides stand 0.3 to 3.3 to 1.
    """

    model_config = _FROZEN

    share: float = Field(default=0.5, gt=0, le=1)
    """Of the images that lose a rectangle."""
    min_area: float = Field(default=0.02, gt=0, lt=1)
    """Least share of an image's area."""
    max_area: float = Field(default=0.33, gt=0, lt=1)
    """Largest share of it."""

    @model_validator(mode="after")
    def _areas_are_ordered(self) -> Erasing:
        if self.min_area > self.max_area:
            raise ValueError(f"min_area {self.min_area} is above max_area {self.max_area}")
        return self


class Noise(BaseModel):
    """Gaussian noise on some images in training, on every pixel and channel by itself.

    It is added to views before they are normalised, and what leaves 0..255 is clipped.
    """

    model_config = _FROZEN

    share: float = Field(default=0.25, gt=0, le=1)
    """Of the images that get noise."""
    variance: float = Field(default=30.0, gt=0)
    """Of pixels in 0..255."""


class StopRules(BaseModel):
    """When a fit has learnt what it can; accuracies are running ones of the training epoch.

    The published protocol of ActiveFER (Roy & Etemad 2023, arXiv 2307.02744, and its code), except
    that the cap of epochs means exactly that many.
    """

    model_config = _FROZEN

    max_train_accuracy: float | None = Field(default=0.999, gt=0, le=1)
    """Stop at this training accuracy."""
    saturation_window: int | None = Field(default=10, ge=2)
    """Stop when, among the last so many epochs, none improved on an earlier one ..."""
    saturation_gain: float = Field(default=0.001, gt=0)
    """... by at least this much."""
    divergence_every: int | None = Field(default=50, ge=1)
    """Every so many epochs a fit that learns nothing is begun anew: fresh weights and momentum."""
    divergence_accuracy: float = Field(default=0.2, ge=0, le=1)
    """Training accuracy below which it learns nothing."""
    min_steps: int = Field(default=0, ge=0)
    """Optimiser steps before which no rule stops a fit; raises the cap of epochs if need be, so
    that a small labelled set gets as many steps as a large one."""


class Compute(BaseModel):
    """How a network is computed."""

    model_config = _FROZEN

    precision: Precision = "float32"
    """Arithmetic of the encoder. `auto` measures once on the worker and keeps to it; two runs on
    two machines may then differ."""
    channels_last: bool | Literal["auto"] = True
    """Memory layout of images and weights."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; as many as the worker has if not given. Sums come out differently in the last
    bits with another number, so name one where workers differ."""


class Recipe(BaseModel):
    """Everything about gradient training that YAML may set."""

    model_config = _FROZEN

    epochs: int = Field(default=200, ge=1)
    """Passes over the labelled set at most; the cosine schedule ends there."""
    batch_size: int = Field(default=20, ge=1)
    """Labelled images a step. A last minibatch of one joins the one before it."""
    optimizer: Optimizer = SGD()
    """How weights follow gradients."""
    sam: SAM | None = None
    """Sharpness-aware steps around the optimiser."""
    schedule: AnySchedule = Cosine()
    """Learning rate over epochs; `cosine`, `constant` … for one with its defaults."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs over which the learning rate rises, step by step, from a hundredth of itself."""
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    """`balanced` draws as many images an epoch with replacement, every class as often as any."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target spread evenly over all classes."""
    augmentation: Augmentation = PadCrop()
    """Random views of training images. Scoring uses them only where that is declared."""
    erasing: Erasing | None = None
    """Rectangles taken out of views of training images."""
    noise: Noise | None = None
    """Grain over views of training images."""
    stopping: StopRules = StopRules()
    """When to stop before the cap of epochs."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between looks at the validation set; the last epoch is always looked at."""
    compute: Compute = Compute()
    """Precision and memory layout."""
    checkpoint_every_s: float = Field(default=2.0, ge=0)
    """Least seconds between two epoch checkpoints: what a kill may cost."""
