"""Rules that read the learning curve of a metric."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveInt
from typing_extensions import override

from al_orchestrator.metric_names import lower_is_better
from al_orchestrator.stopping.base import Evidence, StoppingRule


class _OfCurve(StoppingRule):
    metric: str = "validation/balanced_accuracy"
    """What to read, of the validation set."""

    @property
    @override
    def reads(self) -> str | None:
        return self.metric


class Target(_OfCurve):
    """Ends a run in the round whose metric reaches a value."""

    name: Literal["target"] = "target"
    value: float
    """At least this; at most, where lower is better."""

    @override
    def reason(self, evidence: Evidence) -> str | None:
        sign = -1 if lower_is_better(self.metric) else 1
        if evidence.rising(self.metric)[-1] < sign * self.value:
            return None
        found = evidence.values(self.metric)[-1]
        return f"{self.metric} is {found:.4g}, and {self.value:g} was to be reached"


class Plateau(_OfCurve):
    """Ends a run whose curve has become flat: the last rounds together gained too little.

    The gain is the last value minus that of `rounds` rounds before; a run of fewer rounds goes on.
    """

    name: Literal["plateau"] = "plateau"
    rounds: PositiveInt = 3
    """Rounds the gain is measured over."""
    min_gain: NonNegativeFloat = 0.005
    """Less than this is flat; 0 ends a run that has become worse."""

    @override
    def reason(self, evidence: Evidence) -> str | None:
        curve = evidence.rising(self.metric)
        if len(curve) <= self.rounds:
            return None
        gain = float(curve[-1] - curve[-1 - self.rounds])
        if gain >= self.min_gain:
            return None
        return (
            f"{self.metric} gained {gain:.4f} in {self.rounds} rounds, less than {self.min_gain:g}"
        )


class Patience(_OfCurve):
    """Ends a run whose best value has not been beaten for some rounds.

    A round beats the best if it is better by more than `min_delta`; one as good as the best does
    not.
    """

    name: Literal["patience"] = "patience"
    rounds: PositiveInt = 3
    """So many successive rounds without a new best."""
    min_delta: float = Field(default=0.0, ge=0)
    """What a new best has to be better by."""

    @override
    def reason(self, evidence: Evidence) -> str | None:
        curve = evidence.rising(self.metric)
        best = 0
        for number in range(1, len(curve)):
            if curve[number] > curve[best] + self.min_delta:
                best = number
        if len(curve) - 1 - best < self.rounds:
            return None
        value = evidence.values(self.metric)[best]
        return (
            f"{self.metric} has not beaten the {value:.4g} of round {best} for {self.rounds} rounds"
        )
