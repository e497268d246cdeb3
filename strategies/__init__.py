"""Which samples next: query strategies over arrays.

`AnyStrategy` is the one list of strategies: a class that joins it can be named in YAML, is held to
the contract by the tests and shows up in `alo strategies list`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from strategies.badge import BADGE
from strategies.base import (
    Candidates,
    Head,
    Kept,
    QueryStrategy,
    Selection,
    Signal,
    StrategyError,
    Validation,
)
from strategies.coreset import CoreSet
from strategies.random_sampling import RandomSampling
from strategies.uncertainty import EntropySampling, LeastConfidence, MarginSampling

AnyStrategy = Annotated[
    RandomSampling | LeastConfidence | MarginSampling | EntropySampling | BADGE | CoreSet,
    Field(discriminator="name"),
]
"""Every strategy YAML can name, told apart by `name`."""

__all__ = [
    "BADGE",
    "AnyStrategy",
    "Candidates",
    "CoreSet",
    "EntropySampling",
    "Head",
    "Kept",
    "LeastConfidence",
    "MarginSampling",
    "QueryStrategy",
    "RandomSampling",
    "Selection",
    "Signal",
    "StrategyError",
    "Validation",
]
