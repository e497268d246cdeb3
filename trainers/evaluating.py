"""The contract of judging an encoder by itself: labelled images in, accuracies out.

No experiment reads any of it. It says what the embeddings of a frozen encoder know of the classes,
with all labels there are or with some, by neighbours and by a linear head.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from trainers.base import Examples, Images
from trainers.recipes import Compute

if TYPE_CHECKING:
    from trainers.encoders import Encoder


class PublishedProbe(BaseModel):
    """A linear head trained on random views, as SimFLE does (arXiv 2303.07648 and its code).

    The encoder stays in evaluation mode; the head starts from N(0, 0.01²) with bias 0; SGD with
    momentum 0.9, no weight decay, and a learning rate of 0.5 batch/256 that never changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    epochs: int = Field(default=100, ge=1)
    """Passes over the labelled images, each seen as a new crop, perhaps mirrored."""
    batch_size: int = Field(default=256, ge=1)
    """Images a step; 1,024 as published."""
    min_area: float = Field(default=0.08, gt=0, le=1)
    """Smallest share of an image that a crop keeps."""

    @property
    def lr(self) -> float:
        return 0.5 * self.batch_size / 256


class EncoderEvaluation(BaseModel):
    """What is measured of an encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    neighbours: tuple[int, ...] = Field(default=(1, 5, 20, 50, 200), min_length=1)
    """Numbers of neighbours; the validation set chooses."""
    temperature: float = Field(default=0.07, gt=0)
    """Of the weight exp(cosine / temperature) of a neighbour."""
    l2: tuple[float, ...] = Field(default=(1.0, 10.0, 100.0, 1000.0), min_length=1)
    """Penalties of the logistic regression; the validation set chooses."""
    published: PublishedProbe | None = None
    """Also train a head as published; it costs an encoding of all views."""
    compute: Compute = Compute()
    """Precision and memory layout."""


@dataclass(frozen=True, eq=False)
class EvaluationTask:
    """Everything one evaluation needs."""

    images: Images
    labelled: Examples  # the head is fitted on, and neighbours come from
    validation: Examples  # chooses; empty: nothing is chosen, the first of each list is taken
    test: Examples
    num_classes: int
    seed: int
    device: str
    cache_dir: Path


@dataclass(frozen=True)
class Judgement:
    """What one way of judging found."""

    method: str  # "knn", "linear", "linear, published, last epoch", …
    chosen: str  # "k = 20", "l2 = 10", "epoch 37"
    validation: dict[str, float]  # metrics of `trainers.metrics`; empty without a set
    test: dict[str, float]


def evaluate_encoder(
    encoder: Encoder, settings: EncoderEvaluation, task: EvaluationTask
) -> list[Judgement]:
    """Judges an encoder by its embeddings, which stay as they are.

    Raises:
        TrainingError: There is nothing labelled or nothing to test on, or the encoder's file does
            not fit.
    """
    from trainers.deep.encoder_evaluation import judge

    return judge(encoder, settings, task)
