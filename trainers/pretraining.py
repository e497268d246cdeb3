"""The contract of a pretrainer: the pool's images in, an encoder out.

Legend of axes: ``N`` rows of the pool, ``M`` labelled rows, ``D`` embedding width.

A pretrainer is a frozen pydantic model (its fields are its YAML), cheap to import; torch is loaded
inside `Pretrainer.pretrain`, which runs on a worker. What every pretrainer promises, and
`tests/trainers/test_pretrainers.py` checks for each member of `trainers.AnyPretrainer`:

* **No label it was not given.** A task names rows of the pool, and labels only of rows that are
  labelled already; a method that reads none is never handed any. What is watched has labels too,
  is no part of the pool, and moves no weight.
* **The task is everything.** Equal tasks give equal weights on the same CPU, bit for bit; no global
  generator is read or left changed.
* **It goes on where it was killed**, at the last whole epoch, and on a CPU ends in the same weights
  as if it had not been.
* **Several processes make what one makes**, but for rounding: `PretrainTask.seat`.
* **It writes only below `out_dir`**, and each file appears whole.
* **What it leaves is an encoder file** like any other: `Encoder.weights` reads it by name, and
  `PretrainReport.digest` is the digest every later fit has to start from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.augmentations import ContrastiveViews
from trainers.base import Examples, Images, Rows
from trainers.optimizers import SGD
from trainers.recipes import Compute

if TYPE_CHECKING:
    from trainers.encoders import Encoder

ENCODER_FILE = "encoder.pt"
"""What a pretraining leaves in its own folder."""

HISTORY_FILE = "metrics.jsonl"
"""A line an epoch, for those who read along."""


def nobody() -> Examples:
    """No examples."""
    return Examples(rows=np.empty(0, np.int64), labels=np.empty(0, np.int64))


@dataclass(frozen=True)
class Seat:
    """A place among several processes that carry out one task together."""

    rank: int
    size: int
    rendezvous: Path  # a file, not there yet, that all of them see


@dataclass(frozen=True, eq=False)
class PretrainTask:
    """Everything one pretraining needs, on any machine, twice."""

    images: Images
    rows: Rows  # (N,) of the pool, or without any label; never of the validation or test set
    seed: int  # in [0, 2**63)
    out_dir: Path  # this attempt's own folder; exists
    cache_dir: Path
    device: str  # "cpu", "cuda", "cuda:0"
    labelled: Examples = field(default_factory=nobody)
    """(M,) of `rows`, for a method that reads labels; nobody's for one that does not."""
    watched: Examples = field(default_factory=nobody)
    """Not of `rows`: what `Pretrainer.watch_every` measures on. No weight hangs on them."""
    resume_from: Path | None = None  # an earlier attempt's folder
    seat: Seat | None = None
    """One of several that share every minibatch; the process of rank 0 writes all files."""

    def shared_by(self, workers: int) -> list[PretrainTask]:
        """The same task for each of so many processes."""
        if workers == 1:
            return [self]
        seats = [Seat(rank, workers, self.out_dir / "rendezvous") for rank in range(workers)]
        return [replace(self, seat=seat) for seat in seats]


@dataclass(frozen=True, eq=False)
class PretrainReport:
    """What a pretraining left behind."""

    encoder: Path  # a file for `Encoder.weights`
    digest: str  # sha256 of the encoder's weights, see `trainers.deep.checkpoints`
    initial_digest: str  # of all weights before the first step
    metrics: Mapping[str, float]  # of the last epoch: "loss", its terms, "effective_rank", …
    epochs: int
    steps: int
    seconds: float
    notes: Mapping[str, str] = field(default_factory=dict)


class Pretrainer(BaseModel, ABC):
    """Learns an encoder from images of the pool."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    reads_labels: ClassVar[bool] = False
    """Whether labels of the seed set are handed to it."""

    name: str
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Of weights, order and views; the experiment's seed if not given, so that each seed of a
    comparison has an encoder of its own."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the pool's images; the cosine schedule ends there."""
    batch_size: int = Field(default=256, ge=2)
    """Images a step. What does not fill a last minibatch waits for the next epoch's order."""
    optimizer: SGD = SGD(lr=0.05, momentum=0.9, weight_decay=1e-4)
    """How weights follow gradients."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate over epochs: along half a cosine, or unchanged."""
    final_lr: float = Field(default=0.0, ge=0, le=1)
    """Where the cosine ends, as a share of the learning rate; ActiveFER has 0.001."""
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs over which the learning rate rises from nothing, step by step."""
    views: ContrastiveViews = ContrastiveViews()
    """Random views of an image."""
    compute: Compute = Compute()
    """Precision and memory layout."""
    workers: int = Field(default=1, ge=1)
    """Processes that share each minibatch, with one loss, one batch norm and one gradient over all
    of it; at most resources.workers. The weights are those of one process but for rounding."""
    watch_every: int = Field(default=0, ge=0)
    """Every so many epochs, and after the last, say how well neighbours and a linear head of one
    half of the validation set tell the other half; 0 looks at no label."""
    checkpoint_every_s: float = Field(default=10.0, ge=0)
    """Least seconds between two epoch checkpoints: what a kill may cost."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Pretrainer:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs} leaves none of {self.epochs} epochs; lower it"
            )
        return self

    def pretrain(self, encoder: Encoder, task: PretrainTask) -> PretrainReport:
        """Trains the encoder's architecture from fresh weights, and leaves them in `out_dir`.

        Raises:
            TrainingError: The loss is not finite, the images are too small for the method, or
                there are labels where none may be, or none where some must be.
        """
        from trainers.deep.pretrain import pretrain_encoder

        return pretrain_encoder(self, encoder, task)

    def settings(self) -> dict[str, Any]:
        """The fields that decide the weights, as plain JSON; the seed stands by itself."""
        operational = {"seed", "checkpoint_every_s", "workers", "watch_every"}
        return self.model_dump(mode="json", exclude=operational)

    def can_resume(self, folder: Path) -> bool:
        """Whether an earlier attempt's folder holds something to go on from."""
        from trainers.files import EPOCH_CHECKPOINT

        return (folder / EPOCH_CHECKPOINT).exists()

    @abstractmethod
    def refusal(self, encoder: Encoder, image_shape: tuple[int, int, int]) -> str | None:
        """Why this method cannot train this encoder on images (H, W, Ch); None if it can."""
