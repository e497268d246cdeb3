"""What an experiment's YAML may say."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from al_orchestrator.config.protocol import Protocol, Scoring
from al_orchestrator.config.protocol import refusal as protocol_refusal
from al_orchestrator.config.reports import Reports
from al_orchestrator.datasets import AnyDataset, Unlabelled
from al_orchestrator.executors import RaySettings, Resources
from al_orchestrator.oracles import AnyOracle, SimulatedOracle
from al_orchestrator.seed_sets import Stratified
from al_orchestrator.stopping import AnyRule, Budget
from al_orchestrator.stopping import refusal as stopping_refusal
from al_orchestrator.tracking import AnyTracking, MLflowTracking
from strategies import AnyStrategy, RandomSampling
from trainers import AnyTrainer


class Validation(BaseModel):
    """Labels spent on choosing an epoch; they are reported as labels spent."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    size: NonNegativeInt | None = None
    """Images drawn at random from the split; 0 is none; by default five times
    budget.initial."""
    split: Literal["val", "test"] = "val"
    """Where they come from. `test` has to be allowed by `protocol.allow`."""
    merge: bool = False
    """The val split belongs to the pool: it is learned from, and nothing is validated on it."""

    @property
    def may_be_there(self) -> bool:
        """Whether there is a set to look at, if the dataset has the split."""
        return self.size != 0 and not self.merge

    @model_validator(mode="after")
    def _merged_is_gone(self) -> Self:
        if self.merge and self.size:
            raise ValueError(
                f"merge puts the val split into the pool, so there is none to draw {self.size} "
                "images from; leave size out"
            )
        if self.merge and self.split == "test":
            raise ValueError(
                "merge is there so that nothing is validated, and split: test validates; leave one "
                "of them out"
            )
        return self


class ExperimentConfig(BaseModel):
    """One experiment, complete: the same file, seed and data give the same run."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """The run's folder below the root; by default the name of the YAML file."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Fixes validation set, seed set, initial weights, augmentation and selection."""
    dataset: AnyDataset
    """Where the images come from."""
    pretrain_on: Unlabelled | None = None
    """Images without labels, from which an encoder with a `pretrain` is learned instead of from
    the pool's."""
    strategy: AnyStrategy
    """Which samples to label next."""
    seed_set: AnyStrategy | Stratified = Field(default=RandomSampling(), discriminator="name")
    """Which samples to label first, before there is a learner."""
    trainer: AnyTrainer
    """What is trained on the labelled set in each round."""
    oracle: AnyOracle = SimulatedOracle()
    """Who answers."""
    budget: Budget
    """How many labels are bought, in what portions."""
    stop: tuple[AnyRule, ...] = ()
    """What may end the run before its budget does; the first rule that holds."""
    validation: Validation = Validation()
    """The set that chooses an epoch."""
    executor: Literal["ray", "in_process"] = "ray"
    """Where training and scoring run."""
    ray: RaySettings = RaySettings()
    """Which Ray cluster, if any."""
    resources: Resources = Resources()
    """What a worker gets."""
    retries: NonNegativeInt = 2
    """How often a stage is tried again after its worker was lost."""
    scoring: Scoring = Scoring()
    """How the pool is looked at."""
    protocol: Protocol = Protocol()
    """Declared deviations from it, and where the settings of the trainer come from."""
    tracking: AnyTracking = MLflowTracking()
    """The mirror people look at."""
    reports: Reports = Reports()
    """What is drawn beside what every round leaves."""

    @model_validator(mode="after")
    def _keeps_the_protocol(self) -> Self:
        reason = protocol_refusal(self)
        if reason is not None:
            raise ValueError(reason)
        return self

    @model_validator(mode="after")
    def _other_images_need_a_method_for_them(self) -> Self:
        if self.pretrain_on is None:
            return self
        encoder = self.trainer.pretraining()
        if encoder is None or encoder.pretrain is None:
            raise ValueError(
                "pretrain_on names images to learn an encoder from, and no encoder has a "
                "`pretrain`; give it one, as in trainer.encoder.pretrain: simclr, or leave "
                "pretrain_on out"
            )
        if encoder.pretrain.reads_labels:
            raise ValueError(
                f"{encoder.pretrain.name} learns from labels of the pool, and images of "
                "pretrain_on have none; take another pretrain, or leave pretrain_on out"
            )
        if encoder.pretrain.watch_every:
            raise ValueError(
                "pretrain.watch_every looks at the validation set, which does not lie among the "
                "images of pretrain_on; set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _seed_set_needs_no_learner(self) -> Self:
        chosen = self.seed_set
        if isinstance(chosen, Stratified):
            if self.oracle.name != "simulated":
                raise ValueError(
                    "seed_set: stratified looks at labels that the dataset holds back, and with "
                    f"oracle: {self.oracle.name} there are none; use random"
                )
            return self
        of_encoder = chosen.computation.embeddings == "encoder"
        encoder = self.trainer.pretraining()
        if of_encoder and encoder and encoder.pretrain and encoder.pretrain.reads_labels:
            raise ValueError(
                f"seed_set: {chosen.name} looks at embeddings of an encoder that "
                f"{encoder.pretrain.name} learns from the seed set's labels; use random, or "
                "another pretrain"
            )
        beyond = chosen.needs - _KNOWN_BEFORE - ({"embeddings"} if of_encoder else frozenset())
        if beyond:
            reads = ", ".join(sorted(beyond))
            raise ValueError(
                f"seed_set: {chosen.name} reads {reads} of a learner, and there is none before "
                "round 0; use random, or one that reads embeddings only, with embedding: encoder"
            )
        if chosen.min_labelled:
            raise ValueError(
                f"seed_set: {chosen.name} needs labelled samples, and there are none before "
                "round 0; use random"
            )
        return self

    @model_validator(mode="after")
    def _rules_look_at_what_they_may(self) -> Self:
        reason = stopping_refusal(
            self.stop,
            has_validation=self.validation.may_be_there,
            may_read_test="test_selection" in self.protocol.allow,
        )
        if reason is not None:
            raise ValueError(reason)
        return self

    @model_validator(mode="after")
    def _what_follows_a_validation_set_has_one(self) -> Self:
        follower = self.trainer.follows_validation()
        if follower is None or self.validation.may_be_there:
            return self
        why = (
            "validation.merge puts it into the pool; leave merge out, or take another schedule"
            if self.validation.merge
            else "validation.size is 0; set it, or take another schedule"
        )
        raise ValueError(f"{follower} follows the validation set, and there is none: {why}")


_KNOWN_BEFORE = frozenset({"labelled_ids", "labelled_embeddings", "labelled_labels"})
"""Signals there are before round 0 without a learner: that nothing is labelled."""
