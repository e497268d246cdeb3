"""The contract of a stopping rule, and all that it may look at.

A rule is asked once a round, when the round has been trained and measured and before it asks for
more labels. It answers from the ledger alone, and from nothing that is recorded later; so a run
that was killed and goes on decides as it would have, and a rule keeps no state of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from al_orchestrator.errors import ConfigError
from al_orchestrator.metric_names import is_of_test_set, lower_is_better

Doubles = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StopSet:
    """Images whose predicted classes are compared from round to round; the same in all rounds."""

    of: Literal["pool", "validation"]
    size: int  # at most; drawn once for the run

    def __str__(self) -> str:
        return f"{self.of}:{self.size}"


@dataclass(frozen=True)
class Evidence:
    """What is on record of rounds 0 to R - 1, the last of which could ask for more labels."""

    metrics: Sequence[Mapping[str, float]]  # (R,) of each round
    labels: int  # bought to train on, with those looked at to balance the seed set
    validation: int  # labels of the validation set
    seconds: float  # of work, up to the last round's training
    next_batch: int  # labels the budget would buy next
    predicted: Mapping[StopSet, Sequence[Classes]] = field(default_factory=dict)
    """Classes (S,) that the models of the last rounds gave a stop set, ascending by round."""

    def values(self, metric: str) -> Doubles:
        """The metric of each round (R,).

        Raises:
            ConfigError: A round does not have it; the message says what the last one has.
        """
        if not all(metric in each for each in self.metrics):
            there = sorted(name for name in self.metrics[-1] if not is_of_test_set(name))
            raise ConfigError(
                f"stop: a rule reads {metric!r}, which is not measured; there are "
                f"{', '.join(there) or 'none'}"
            )
        return np.array([each[metric] for each in self.metrics], dtype=np.float64)

    def rising(self, metric: str) -> Doubles:
        """The metric of each round (R,), with its sign turned where lower is better."""
        values = self.values(metric)
        return -values if lower_is_better(metric) else values


class StoppingRule(BaseModel, ABC):
    """Says whether a run has asked for enough."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    name: str

    @abstractmethod
    def reason(self, evidence: Evidence) -> str | None:
        """Why the run ends with the last round, in a few words; None if it goes on.

        Raises:
            ConfigError: A metric it reads is not measured.
        """

    def parts(self) -> Iterator[StoppingRule]:
        """The rules this one is made of; itself, if of none."""
        yield self

    @property
    def reads(self) -> str | None:
        """The metric it reads, if any."""
        return None

    @property
    def compares(self) -> tuple[StopSet, int] | None:
        """A stop set it needs the predictions of, and of how many successive rounds."""
        return None
