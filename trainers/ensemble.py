"""Several learners of one kind, whose disagreement says what none of them knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
from trainers.fer_classifier import FERClassifier
from trainers.files import FINISHED_MEMBER, digest_of_members, member_folder
from trainers.linear_probe import LinearProbe

Member = Annotated[FERClassifier | LinearProbe, Field(discriminator="name")]


class Ensemble(Trainer):
    """Fits several members, each from a seed of its own, and answers with their mean.

    Log-probabilities and metrics are of the mean of the members' probabilities, posterior draw k is
    member k, and embeddings stand side by side, so they are K times as wide (Lakshminarayanan,
    Pritzel & Blundell 2017, arXiv 1612.01474, without adversarial training). Training loss and
    accuracy are means over members; epochs and steps are sums; the best epoch is each member's own.
    Members are fitted one after another on one worker, and one that is finished is never fitted
    again. An ensemble has neither one head nor one network to be attacked.
    """

    name: Literal["ensemble"] = "ensemble"
    weights: WeightPolicy = "from_scratch"
    """The member's own; leave it out. In a warm start each member goes on from its last self."""
    member: Member = FERClassifier()
    """The trainer of each member."""
    members: int = Field(default=5, ge=2)
    """K, how many."""
    bootstrap: bool = False
    """Fit each member on as many samples as are labelled, drawn from these with replacement."""

    @model_validator(mode="before")
    @classmethod
    def _policy_is_the_members(cls, fields: object) -> object:
        if not isinstance(fields, dict) or "weights" in fields or "member" not in fields:
            return fields
        member = with_default_policy(fields["member"])
        if isinstance(member, dict):
            return {**fields, "weights": member["weights"]}
        return {**fields, "weights": getattr(member, "weights", "from_scratch")}

    @model_validator(mode="after")
    def _members_differ_and_agree(self) -> Ensemble:
        if self.weights != self.member.weights:
            raise ValueError(
                f"weights: {self.weights} is not the member's {self.member.weights}; "
                "set member.weights and leave weights out"
            )
        if isinstance(self.member, LinearProbe) and not self.bootstrap:
            raise ValueError(
                "a linear probe has one optimum wherever it starts, so all members would be "
                "equal; set bootstrap: true, or take fer_classifier for a member"
            )
        return self

    @property
    @override
    def augments_scores(self) -> bool:
        return self.member.augments_scores

    @override
    def starting_encoder(self) -> Encoder | None:
        return self.member.starting_encoder()

    @property
    @override
    def starting_file(self) -> Path | None:
        return self.member.starting_file

    @override
    def once_started(self) -> Ensemble:
        return self.model_copy(update={"member": self.member.once_started()})

    @override
    def pretrained(self, weights: Path) -> Ensemble:
        return self.model_copy(update={"member": self.member.pretrained(weights)})

    @override
    def starts_from(self, encoder_digest: str) -> str:
        return digest_of_members([encoder_digest] * self.members)

    def can_resume(self, folder: Path) -> bool:
        # Member 0 is the first to be fitted, and the last to be copied from an earlier attempt.
        first = member_folder(folder, 0)
        return (first / FINISHED_MEMBER).exists() or self.member.can_resume(first)

    def fit(self, task: TrainTask) -> TrainReport:
        refuse_shares(self, task)
        from trainers.deep.ensemble import fit_ensemble

        return fit_ensemble(self, task)

    def predict(self, task: PredictTask) -> Predictions:
        refuse_outputs(self, task)
        from trainers.deep.ensemble import predict_ensemble

        return predict_ensemble(self, task)

    @override
    def follows_validation(self) -> str | None:
        return self.member.follows_validation()

    @override
    def refusal_of_shares(self) -> str | None:
        return self.member.refusal_of_shares()

    @override
    def refusal(self, outputs: frozenset[Output]) -> str | None:
        refused = sorted(_NOT_OF_AN_ENSEMBLE.keys() & outputs)
        if refused:
            return " ".join(_NOT_OF_AN_ENSEMBLE[name] for name in refused)
        return self.member.refusal(outputs - {"mc_log_probs"})  # the members are the draws

    def check(self, *, image_shape: tuple[int, int, int], num_classes: int) -> None:
        self.member.check(image_shape=image_shape, num_classes=num_classes)


_NOT_OF_AN_ENSEMBLE: dict[Output, str] = {
    "head": (
        "The mean of several heads' probabilities is no linear layer, so an ensemble has no head; "
        "train a single learner, or take a strategy that does not ask for head."
    ),
    "saliency": (
        "Saliency is told by the gradient of one network, and an ensemble is several; explain a "
        "single learner."
    ),
    "flip_distances": (
        "An attack needs the gradient of one network, and an ensemble is several; train a single "
        "learner, or take a strategy that does not ask for flip_distances."
    ),
}
