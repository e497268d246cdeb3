"""Fine-tuning an encoder and a linear head on labelled faces."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from trainers.base import (
    Output,
    Predictions,
    PredictTask,
    Trainer,
    TrainingError,
    TrainReport,
    TrainTask,
    WeightPolicy,
    refuse_outputs,
    refuse_shares,
)
from trainers.center_loss import CenterLoss
from trainers.crops import Crops
from trainers.encoders import POOLED, Encoder, with_default_policy
from trainers.files import EPOCH_CHECKPOINT
from trainers.recipes import Recipe


class FERClassifier(Recipe, Trainer):
    """Fine-tunes all of an encoder with a linear head on it.

    Defaults follow the published active-learning protocol of Roy & Etemad 2023 (arXiv 2307.02744)
    and its code. Differs: weights start as `weights` says, images are scored without augmentation
    (unless that is declared), the training order and views depend on the seed alone, and a last
    minibatch of one image joins the one before it.
    """

    name: Literal["fer_classifier"] = "fer_classifier"
    encoder: Encoder = Encoder()
    """What turns an image into an embedding."""
    weights: WeightPolicy = "from_scratch"
    """Weights at the start of a round; `from_pretrained` unless set, if the encoder has a file."""
    start_from: Path | None = None
    """Checkpoint of a learner like this one, head and all, that round 0 goes on from; for
    `weights: warm_start`. Its own optimiser and schedule are not taken along. Its classes have to
    be the dataset's in the same order, its images like the dataset's in mean and deviation."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the embedding hidden from the head in training, and in posterior draws."""
    center_loss: CenterLoss | None = None
    """Draws embeddings towards their class's centre; `{kind: attentive}` is DACL."""
    crops: Crops | None = None
    """Crops that stand for an image; `{size: 40}` are the ten of the FER2013 VGG."""
    flip_averaging: bool = False
    """In scoring and measuring, an image has the mean embedding of itself and its mirror, and with
    the linear head so has it the mean of their logits. Training is the same."""
    posterior_draws: int = Field(default=10, ge=1)
    """K, the masks tried where a strategy asks for Monte-Carlo dropout."""

    @model_validator(mode="before")
    @classmethod
    def _policy_follows_the_encoder(cls, fields: object) -> object:
        return with_default_policy(fields)

    @model_validator(mode="after")
    def _policy_and_encoder_agree(self) -> FERClassifier:
        if self.weights == "from_pretrained" and not self.encoder.reads_files:
            raise ValueError(
                "from_pretrained needs a file; set encoder.weights, encoder.pretrain, or another "
                "policy"
            )
        if self.weights == "from_scratch" and self.encoder.reads_files:
            sources = ("pretrain", "parts", "weights")
            named = next(f"encoder.{each}" for each in sources if getattr(self.encoder, each))
            raise ValueError(
                f"from_scratch would never read {named} ; "
                "take it out, or set weights to from_pretrained or warm_start"
            )
        return self

    @model_validator(mode="after")
    def _a_start_is_warm_and_the_only_one(self) -> FERClassifier:
        if self.start_from is None:
            return self
        if self.weights != "warm_start":
            raise ValueError(
                f"start_from is a warm start, and weights is {self.weights}; set it to warm_start"
            )
        if self.encoder.reads_files:
            raise ValueError(
                "start_from holds a whole learner; take weights, parts and pretrain of the encoder "
                "out, or start_from"
            )
        return self

    @model_validator(mode="after")
    def _centres_are_of_pooled_maps(self) -> FERClassifier:
        if self.center_loss is not None and self.encoder.name not in POOLED:
            raise ValueError(
                f"center_loss weighs the dimensions of a pooled map, and {self.encoder.name} has "
                f"none; take one of {', '.join(POOLED)}"
            )
        if self.crops is not None and self.center_loss is not None:
            raise ValueError(
                "center_loss weighs one map an image, and crops make ten; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _mirrors_are_not_there_twice(self) -> FERClassifier:
        if self.flip_averaging and self.crops is not None and self.crops.ten:
            raise ValueError(
                "flip_averaging adds mirrors, and five of the ten crops are mirrored already; "
                "leave it out, or set crops.ten to false"
            )
        return self

    @override
    def starting_encoder(self) -> Encoder:
        return self.encoder

    @property
    @override
    def starting_file(self) -> Path | None:
        return self.start_from

    @override
    def once_started(self) -> FERClassifier:
        return self.model_copy(update={"start_from": None})

    @override
    def pretrained(self, weights: Path) -> FERClassifier:
        return self.model_copy(update={"encoder": self.encoder.pretrained(weights)})

    def adopt(
        self, file: Path, to: Path, *, image_shape: tuple[int, int, int], num_classes: int
    ) -> dict[str, tuple[str, ...]]:
        """Writes the learner in somebody's checkpoint of this network to `to`, ready to predict.

        Args:
            file: A state dict with a head, of ActiveFER, DACL, POSTER, POSTER V2, the FER2013 VGG,
                or a torchvision network.
            to: Our own checkpoint.
            image_shape: H, W, Ch of the images to come.
            num_classes: Of the head; their order is the file's.

        Returns:
            Names that were matched, are missing, and were ignored.

        Raises:
            TrainingError: The file cannot be read, has no head, or fits only in part.
        """
        from trainers.deep.adopting import adopt_learner

        return adopt_learner(self, file, to, image_shape=image_shape, num_classes=num_classes)

    @property
    @override
    def augments_scores(self) -> bool:
        return True

    @staticmethod
    def wrote(file: Path) -> bool:
        """Whether a checkpoint is one of ours, whose network has seen RGB.

        Raises:
            TrainingError: It cannot be read.
        """
        from trainers.deep.importing import is_ours

        return is_ours(file)

    def can_resume(self, folder: Path) -> bool:
        return (folder / EPOCH_CHECKPOINT).exists()

    def fit(self, task: TrainTask) -> TrainReport:
        refuse_shares(self, task)
        from trainers.deep.fit import fit_classifier

        return fit_classifier(self, task)

    def predict(self, task: PredictTask) -> Predictions:
        refuse_outputs(self, task)
        from trainers.deep.predict import predict_classifier

        return predict_classifier(self, task)

    @override
    def follows_validation(self) -> str | None:
        return "schedule plateau" if self.schedule.name == "plateau" else None

    @override
    def refusal_of_shares(self) -> str | None:
        if self.center_loss is not None:
            return (
                "center_loss draws an image to the centre of one class, and shares of votes are of "
                "several; leave it out, or take labels that are one class each (of FER+: "
                "dataset.labels: ferplus)"
            )
        return None

    @override
    def refusal(self, outputs: frozenset[Output]) -> str | None:
        if "mc_log_probs" in outputs and self.dropout == 0:
            return (
                "posterior draws need a network with dropout, and this one has dropout 0; "
                "set trainer.dropout, or take a strategy that does not ask for mc_log_probs"
            )
        if "encoder_embeddings" in outputs and not self.encoder.has_source:
            return (
                "encoder_embeddings are those of trainer.encoder before any label, and it has no "
                "file of weights; give encoder.weights, or encoder.pretrain, or set the strategy's "
                "embedding to learner"
            )
        return None

    def check(self, *, image_shape: tuple[int, int, int], num_classes: int) -> None:
        from trainers.deep.networks import check_encoder

        seen = image_shape
        if self.crops is not None:
            if self.crops.size > min(image_shape[:2]):
                raise TrainingError(
                    f"crops of {self.crops.size} pixels do not fit images of "
                    f"{image_shape[0]}x{image_shape[1]}; lower crops.size"
                )
            seen = (self.crops.size, self.crops.size, image_shape[2])
        check_encoder(self.encoder, image_shape=seen, num_classes=num_classes)
        if self.start_from is not None:
            from trainers.deep.start import continued

            continued(self, self.start_from, image_shape, num_classes)
