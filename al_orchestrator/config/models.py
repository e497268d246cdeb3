"""What an experiment's YAML may say."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from al_orchestrator.datasets import AnyDataset
from al_orchestrator.executors import RaySettings, Resources
from al_orchestrator.oracles import AnyOracle, SimulatedOracle
from al_orchestrator.stopping import Budget
from al_orchestrator.tracking import AnyTracking, MLflowTracking
from strategies import AnyStrategy, RandomSampling
from trainers import AnyTrainer


class Validation(BaseModel):
    """Labels spent on choosing an epoch; they are reported as labels spent."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    size: NonNegativeInt | None = None
    """Images drawn at random from the val split; 0 is none; by default five times
    budget.initial."""


class ExperimentConfig(BaseModel):
    """One experiment, complete: the same file, seed and data give the same run."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """The run's folder below the root; by default the name of the YAML file."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Fixes validation set, seed set, initial weights, augmentation and selection."""
    dataset: AnyDataset
    """Where the images come from."""
    strategy: AnyStrategy
    """Which samples to label next."""
    seed_set: AnyStrategy = RandomSampling()
    """Which samples to label first, before there is a learner."""
    trainer: AnyTrainer
    """What is trained on the labelled set in each round."""
    oracle: AnyOracle = SimulatedOracle()
    """Who answers."""
    budget: Budget
    """How many labels are bought, in what portions."""
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
    tracking: AnyTracking = MLflowTracking()
    """The mirror people look at."""

    @model_validator(mode="after")
    def _seed_set_needs_no_learner(self) -> Self:
        if self.seed_set.needs:
            needs = ", ".join(sorted(self.seed_set.needs))
            raise ValueError(
                f"seed_set: {self.seed_set.name} reads {needs} of a learner, and there is none "
                "before round 0; use random"
            )
        return self
