"""A linear classifier on the embeddings of an encoder that never changes."""

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
    TrainReport,
    TrainTask,
    WeightPolicy,
    refuse_outputs,
    refuse_shares,
)
from trainers.encoders import Encoder, with_default_policy
from trainers.recipes import Compute


class LinearProbe(Trainer):
    """Multinomial logistic regression on frozen features.

    Embeddings of all images are computed once for each encoder and kept, so a round costs seconds.
    Features are standardised for the fit by the mean and deviation of every image outside the
    validation and test sets; the head in a checkpoint takes plain embeddings.
    """

    name: Literal["linear_probe"] = "linear_probe"
    encoder: Encoder = Encoder()
    """What turns an image into an embedding. Without a file its weights are random, drawn from
    `encoder_seed`."""
    weights: WeightPolicy = "from_scratch"
    """`from_pretrained` unless set, if the encoder has a file. The head is always fitted anew."""
    encoder_seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of a random encoder, the same in every round."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of half the squared norm of the head, against the sum of losses over samples."""
    max_iterations: int = Field(default=1000, ge=1)
    """Steps of L-BFGS at most."""
    compute: Compute = Compute()
    """How embeddings are computed."""

    @model_validator(mode="before")
    @classmethod
    def _policy_follows_the_encoder(cls, fields: object) -> object:
        return with_default_policy(fields)

    @model_validator(mode="after")
    def _policy_and_encoder_agree(self) -> LinearProbe:
        if self.weights == "warm_start":
            raise ValueError(
                "a linear probe has one optimum wherever it starts; "
                "leave `weights` out, or take fer_classifier to warm-start"
            )
        if (self.weights == "from_pretrained") != self.encoder.has_source:
            raise ValueError(
                f"weights: {self.weights} does not go with encoder.weights: "
                f"{self.encoder.weights} and encoder.pretrain: "
                f"{self.encoder.pretrain and self.encoder.pretrain.name}; from_pretrained has one "
                "of them, from_scratch has none"
            )
        return self

    @override
    def starting_encoder(self) -> Encoder:
        return self.encoder

    @override
    def pretrained(self, weights: Path) -> LinearProbe:
        return self.model_copy(update={"encoder": self.encoder.pretrained(weights)})

    def fit(self, task: TrainTask) -> TrainReport:
        refuse_shares(self, task)
        from trainers.deep.probe import fit_probe

        return fit_probe(self, task)

    def predict(self, task: PredictTask) -> Predictions:
        refuse_outputs(self, task)
        from trainers.deep.probe import predict_probe

        return predict_probe(self, task)

    @override
    def refusal(self, outputs: frozenset[Output]) -> str | None:
        if "mc_log_probs" in outputs:
            return (
                "a linear probe has no dropout, so it has no posterior draws; take an ensemble of "
                "probes, fer_classifier with dropout, or a strategy that does not ask for "
                "mc_log_probs"
            )
        return None

    def check(self, *, image_shape: tuple[int, int, int], num_classes: int) -> None:
        from trainers.deep.networks import check_encoder

        check_encoder(self.encoder, image_shape=image_shape, num_classes=num_classes)
