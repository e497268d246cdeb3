"""A run that ends when its money, or its time, is spent."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator
from typing_extensions import override

from al_orchestrator.stopping.base import Evidence, StoppingRule

_HOUR_S = 3600.0


class Cost(StoppingRule):
    """Ends a run before a batch whose labels would cost more than is left.

    Labels are those trained on, those of the validation set, and those looked at to balance a seed
    set. Time is the wall time of training, scoring and selecting as the ledger has it, without that
    of interrupted attempts; what the next round will take is not foreseen. With `per_label: 0` and
    `per_hour: 1` the limit is one of hours.
    """

    name: Literal["cost"] = "cost"
    limit: float = Field(gt=0)
    """What may be spent in all, in any currency."""
    per_label: NonNegativeFloat = 1.0
    """The price of a label."""
    per_hour: NonNegativeFloat = 0.0
    """The price of an hour of work."""

    @model_validator(mode="after")
    def _something_costs(self) -> Self:
        if not self.per_label and not self.per_hour:
            raise ValueError("give per_label or per_hour: what costs nothing never ends a run")
        return self

    @override
    def reason(self, evidence: Evidence) -> str | None:
        labels = evidence.labels + evidence.validation
        spent = labels * self.per_label + evidence.seconds / _HOUR_S * self.per_hour
        ahead = evidence.next_batch * self.per_label
        if spent < self.limit and spent + ahead <= self.limit:
            return None
        of = [f"{labels:,} labels"] if self.per_label else []
        of += [f"{evidence.seconds / _HOUR_S:.3g} hours"] if self.per_hour else []
        needed = f", the next batch costs {ahead:g}" if spent < self.limit else ""
        return f"{spent:.6g} of {self.limit:g} is spent on {' and '.join(of)}{needed}"
