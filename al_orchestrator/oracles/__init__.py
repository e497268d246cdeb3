"""Who answers what a sample is."""

from typing import Annotated

from pydantic import Field

from al_orchestrator.oracles.base import Oracle, Question
from al_orchestrator.oracles.people import People
from al_orchestrator.oracles.simulated import SimulatedOracle

AnyOracle = Annotated[SimulatedOracle | People, Field(discriminator="name")]

__all__ = ["AnyOracle", "Oracle", "People", "Question", "SimulatedOracle"]
