"""When a run has asked for enough: its budget, and rules that may end it earlier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from al_orchestrator.metric_names import is_of_test_set, is_of_validation_set
from al_orchestrator.stopping.all_of import AllOf, SingleRule
from al_orchestrator.stopping.base import Evidence, StoppingRule, StopSet
from al_orchestrator.stopping.budget import Budget
from al_orchestrator.stopping.cost import Cost
from al_orchestrator.stopping.curves import Patience, Plateau, Target
from al_orchestrator.stopping.stabilized import Stabilized, kappa

AnyRule = Annotated[SingleRule | AllOf, Field(discriminator="name")]

__all__ = [
    "AllOf",
    "AnyRule",
    "Budget",
    "Cost",
    "Evidence",
    "Patience",
    "Plateau",
    "Stabilized",
    "StopSet",
    "StoppingRule",
    "Target",
    "kappa",
    "reads_test_set",
    "reason_to_stop",
    "refusal",
]


def reason_to_stop(rules: Sequence[StoppingRule], evidence: Evidence) -> str | None:
    """What the first rule says that ends the run, after its name; None if none does.

    Raises:
        ConfigError: A metric that a rule reads is not measured.
    """
    for rule in rules:
        words = rule.reason(evidence)
        if words is not None:
            return f"{rule.name}: {words}"
    return None


def reads_test_set(rules: Sequence[StoppingRule], *, validation_is_test: bool = False) -> bool:
    """Whether the test set has a say in when a run ends, by its name or as the validation set."""
    parts = [part for rule in rules for part in rule.parts()]
    if validation_is_test and any(_looks_at_validation(part) for part in parts):
        return True
    return any(part.reads is not None and is_of_test_set(part.reads) for part in parts)


def _looks_at_validation(part: StoppingRule) -> bool:
    if part.compares is not None and part.compares[0].of == "validation":
        return True
    return part.reads is not None and is_of_validation_set(part.reads)


def refusal(
    rules: Sequence[StoppingRule], *, has_validation: bool, may_read_test: bool = False
) -> str | None:
    """Why these rules may not decide, or None if they may.

    The one place that keeps the test set out of the decision, unless it is declared.
    """
    for part in (part for rule in rules for part in rule.parts()):
        metric = part.reads
        if metric is not None and is_of_test_set(metric) and not may_read_test:
            return (
                f"stop: {part.name} reads {metric}, and the test set decides nothing; take "
                "validation/…, or declare it with protocol.allow: [test_selection] and every "
                "result is marked"
            )
        if _looks_at_validation(part) and not has_validation:
            return (
                f"stop: {part.name} looks at the validation set, which is empty; set "
                "validation.size"
            )
    return None
