"""The contract of a trainer: a task in, a checkpoint and arrays out.

Legend of axes: ``N`` rows asked for, ``O`` others asked for, ``M`` labelled, ``C`` classes, ``D``
embedding width, ``K`` posterior draws, ``H, W`` image, ``Ch`` image channels.

A trainer is a frozen pydantic model (its fields are its YAML) that is cheap to import; torch is
loaded only inside `Trainer.fit` and `Trainer.predict`, which run on a worker: in this process, in
a Ray actor on this machine, or on another node. So a task holds only numbers, small arrays and
paths, and a trainer knows neither the ledger, nor Ray, nor MLflow.

What every trainer promises, and `tests/trainers/test_contract.py` checks for each member of
`trainers.AnyTrainer`:

* **The task is everything.** Equal tasks give equal weights on the same CPU, bit for bit; all
  randomness comes from `TrainTask.seed`, and no global generator is read or left changed.
* **It writes only below `out_dir`**, and each file appears whole: temporary name, fsync,
  `os.replace`.
* **It goes on where it was killed.** After each epoch a checkpoint (model, optimiser, schedule,
  history) is left in `out_dir`. A task with `resume_from` continues from the last whole one, and
  on a CPU ends in the same weights as a fit that was never disturbed.
* **Weights start as the policy says.** `TrainReport.initial_digest` is the digest of the weights
  before the first step; `encoder_digest` that of the encoder among them.
* **The test set decides nothing.** It is evaluated after the last epoch and at the best
  validation epoch; which epoch is best is read from the validation set alone.
* **Scoring changes nothing.** `predict` runs in evaluation mode with the evaluation transform, or
  with random views where a task says `augmented`, and the state dict is bit-equal afterwards. Only
  dropout modules are random in posterior draws. What a row is told does not hang on the rows
  around it, but for the last bits of a sum and the views it is seen under.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from trainers.encoders import Encoder

Rows = npt.NDArray[np.int64]

Output = Literal[
    "log_probs",
    "embeddings",
    "mc_log_probs",
    "flip_distances",
    "saliency",
    "encoder_embeddings",
    "head",
]
"""What `predict` can compute; `encoder_embeddings` needs no checkpoint, the others do."""

WeightPolicy = Literal["from_pretrained", "from_scratch", "warm_start"]
"""What the weights are at the start of a round.

`from_pretrained`: the encoder's stored weights and a fresh head. `from_scratch`: everything drawn
anew from the round's seed. `warm_start`: the last round's checkpoint (round 0: as
`from_pretrained` where an encoder is given, else as `from_scratch`).
"""


class TrainingError(RuntimeError):
    """A fit or a prediction cannot be carried out as asked; the message says what to change."""


@dataclass(frozen=True)
class Images:
    """A packed image file and how its values are normalised."""

    path: Path  # .npy, (rows, H, W, Ch) uint8, opened as a memory map and never written
    mean: tuple[float, ...]  # per channel, of values scaled to [0, 1]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of the packed image file with their classes."""

    rows: Rows  # (M,)
    labels: Rows  # (M,) in [0, C)
    shares: npt.NDArray[np.float32] | None = None
    """(M, C) what training aims at instead of the labels, rows sum to 1; measures go by labels."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class TrainTask:
    """Everything one fit needs, on any machine, twice."""

    images: Images
    num_classes: int
    labelled: Examples
    validation: Examples  # may be empty
    test: Examples  # may be empty
    seed: int  # in [0, 2**63), derived for (experiment seed, round, purpose)
    out_dir: Path  # this attempt's own folder; exists
    cache_dir: (
        Path  # shared between rounds, for what depends on the encoder alone; content-addressed
    )
    device: str  # "cpu", "cuda", "cuda:0"
    previous: Path | None = None  # last round's checkpoint, for `warm_start`
    resume_from: Path | None = None  # an earlier attempt's folder
    origin: Mapping[str, object] = field(default_factory=dict)
    """What the checkpoint is to remember of where its images come from: numbers, words, lists.
    Written and never read by a fit; `Trainer.record_of` gives it back."""


@dataclass(frozen=True, eq=False)
class TrainReport:
    """What a fit left behind."""

    checkpoint: Path  # the state after the last epoch, what the pool is scored with
    checkpoint_digest: str  # sha256 of the weights, see `trainers.deep.checkpoints`
    initial_digest: str  # of all weights before the first step
    encoder_digest: str  # of the encoder's weights before the first step
    metrics: Mapping[
        str, float
    ]  # "test/accuracy", "validation/nll", "best/test/accuracy", "train/loss", …
    confusion: npt.NDArray[
        np.int64
    ]  # (C, C) of the test set, rows true classes, after the last epoch
    epochs: int
    steps: int
    stop_reason: str
    seconds: Mapping[str, float]  # wall time: "fit", "evaluate"
    notes: Mapping[str, str] = field(
        default_factory=dict
    )  # "precision", "device", … recorded, never read
    has_converged: bool | None = None  # its own rule ended it, not a cap; None where it has no rule
    test_predictions: Path | None = None
    """What the test metrics after the last epoch are of; None where there is no test set. An `.npz`
    with `rows` and `labels` (T,) int64 of the test set and `log_probs` (T, C) float32."""


@dataclass(frozen=True)
class Attack:
    """A search for the smallest change of an image that changes its class.

    Changes are measured where the network looks: on normalised pixels, before grey is repeated.
    """

    method: Literal["deepfool", "bim"]
    max_steps: int
    step: float  # bim: the change of each pixel a step
    overshoot: float  # deepfool: how far beyond the boundary, as a share of the way


SaliencyMethod = Literal["gradient", "smoothgrad", "gradcam"]


@dataclass(frozen=True)
class Saliency:
    """How it is told which pixels of an image speak for the class the learner answers with.

    `gradient`: the size of the class's logit's gradient. `smoothgrad`: of its mean over noisy
    copies. `gradcam`: the last map of the network, its channels weighted by their gradients.
    """

    method: SaliencyMethod = "gradient"
    samples: int = 50  # smoothgrad: noisy copies of an image
    noise: float = 0.15  # smoothgrad: deviation, as a share of the image's span of values

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.noise < float("inf"):
            raise TrainingError(
                f"{self.samples} samples with noise {self.noise}: there must be 1 sample and more, "
                "and noise must not be negative"
            )


@dataclass(frozen=True, eq=False)
class PredictTask:
    """Everything one scoring of the pool needs.

    Raises:
        TrainingError: A checkpoint, the attack of `flip_distances`, or how `saliency` is told, is
            needed and not given.
    """

    images: Images
    num_classes: int
    rows: Rows  # (N,)
    outputs: frozenset[Output]
    checkpoint: Path | None  # None before there is a learner: for `encoder_embeddings` alone
    seed: int  # for posterior draws
    out_dir: Path
    cache_dir: Path
    device: str
    others: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    """(O,) more rows, of the labelled and validation sets, for what `Predictions` says."""
    attack: Attack | None = None  # of `flip_distances`
    augmented: bool = False  # under random views of training, drawn from `seed`
    saliency: Saliency | None = None  # how `saliency` is told

    def __post_init__(self) -> None:
        of_a_learner = sorted(self.outputs - {"encoder_embeddings"})
        if self.checkpoint is None and of_a_learner:
            raise TrainingError(
                f"{', '.join(of_a_learner)} are a learner's, and there is no checkpoint yet; "
                "before the first fit ask for encoder_embeddings alone"
            )
        if self.attack is None and "flip_distances" in self.outputs:
            raise TrainingError("flip_distances need an attack to be found by; give one")
        if self.saliency is None and "saliency" in self.outputs:
            raise TrainingError("saliency can be told in several ways; give one")


@dataclass(frozen=True)
class Predictions:
    """Files of one scoring, aligned with `PredictTask.rows` or with those and, after, the others.

    As `.npy` files of float32, of rows and others: `log_probs` (N + O, C), `embeddings` and
    `encoder_embeddings` (N + O, D), the latter by the encoder as it was before any label. Of the
    rows alone: `mc_log_probs` (N, K, C), `flip_distances` (N,), the Euclidean norm of the change
    that was found, inf where none was, and `saliency` (N, H, W), 0 and more. `head` is an `.npz`
    with `weight` (C, D) and `bias` (C,).
    """

    files: Mapping[Output, Path]
    seconds: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[Output, str] = field(default_factory=dict)
    """For outputs that are one function of the image in every round, a name of that function: equal
    keys mean equal values for equal images."""


class Trainer(BaseModel, ABC):
    """Fits a learner on the labelled set and predicts with what it left behind."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    name: str
    weights: WeightPolicy

    @property
    def augments_scores(self) -> bool:
        """Whether `predict` can look at random views, as `PredictTask.augmented` asks."""
        return False

    @abstractmethod
    def fit(self, task: TrainTask) -> TrainReport:
        """Trains on `task.labelled`, evaluates, and leaves a checkpoint.

        Raises:
            TrainingError: Weights do not fit the network, the loss is not finite, or a class is
                out of range.
        """

    @abstractmethod
    def predict(self, task: PredictTask) -> Predictions:
        """Computes `task.outputs` for `task.rows` and `task.others` with `task.checkpoint`.

        Raises:
            TrainingError: The checkpoint is another trainer's, or this trainer has no such output.
        """

    def refusal(self, outputs: frozenset[Output]) -> str | None:  # noqa: ARG002 - for who lacks some
        """Why `predict` cannot give these outputs, and the way out; None if it can."""
        return None

    def refusal_of_shares(self) -> str | None:
        """Why `fit` cannot aim at `Examples.shares`, and the way out; None if it can."""
        return (
            f"{self.name} learns from one label a sample and not from shares of votes; take "
            "fer_classifier, or labels that are one class each (of FER+: dataset.labels: ferplus)"
        )

    def follows_validation(self) -> str | None:
        """The setting by which `fit` needs a validation set; None if it fits without one."""
        return None

    def starting_encoder(self) -> Encoder | None:
        """The encoder it trains on or from; None for a learner without one."""
        return None

    @property
    def starting_file(self) -> Path | None:
        """The learner of elsewhere that round 0 goes on from, if there is one."""
        return None

    def record_of(self, checkpoint: Path) -> Mapping[str, object]:
        """What a checkpoint remembers: `mean` and `std` of its images, and `TrainTask.origin`.

        Empty where it remembers nothing; of a bundle what its members remember, who have all seen
        the same.

        Raises:
            TrainingError: It cannot be read.
        """
        from trainers.deep.start import record_of

        return record_of(checkpoint)

    def once_started(self) -> Self:
        """This trainer once round 0 is trained: without what round 0 alone reads."""
        return self

    def pretraining(self) -> Encoder | None:
        """The encoder that has to be pretrained before the first round, if there is one."""
        encoder = self.starting_encoder()
        return encoder if encoder is not None and encoder.pretrain else None

    def pretrained(self, weights: Path) -> Self:  # noqa: ARG002 - for those with an encoder
        """This trainer once the pretraining of its encoder has left this file."""
        return self

    def starts_from(self, encoder_digest: str) -> str:
        """`TrainReport.encoder_digest` of a fit that starts from an encoder of this digest."""
        return encoder_digest

    def can_resume(self, folder: Path) -> bool:  # noqa: ARG002 - for those that leave checkpoints
        """Whether an earlier attempt's folder holds something that `fit` would go on from."""
        return False

    @abstractmethod
    def check(self, *, image_shape: tuple[int, int, int], num_classes: int) -> None:
        """Refuses what cannot work before anything is created: an unfit encoder file, a wrong size.

        May load torch. `image_shape` is (H, W, Ch).

        Raises:
            TrainingError: With the reason and the way out.
        """


def refuse_shares(trainer: Trainer, task: TrainTask) -> None:
    """Raises `TrainingError` if the trainer cannot learn from what the task gives."""
    reason = trainer.refusal_of_shares() if task.labelled.shares is not None else None
    if reason is not None:
        raise TrainingError(reason)


def refuse_outputs(trainer: Trainer, task: PredictTask) -> None:
    """Raises `TrainingError` if the trainer cannot predict what the task asks for."""
    reason = trainer.refusal(task.outputs)
    if reason is not None:
        raise TrainingError(reason)
