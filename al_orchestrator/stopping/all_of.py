"""Several rules that have to hold in the same round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from al_orchestrator.stopping.base import Evidence, StoppingRule
from al_orchestrator.stopping.cost import Cost
from al_orchestrator.stopping.curves import Patience, Plateau, Target
from al_orchestrator.stopping.stabilized import Stabilized

SingleRule = Target | Plateau | Patience | Stabilized | Cost


class AllOf(StoppingRule):
    """Ends a run in the first round in which each of several rules would."""

    name: Literal["all"] = "all"
    of: Annotated[
        tuple[Annotated[SingleRule, Field(discriminator="name")], ...], Field(min_length=2)
    ]
    """The rules."""

    @override
    def parts(self) -> Iterator[StoppingRule]:
        yield from self.of

    @override
    def reason(self, evidence: Evidence) -> str | None:
        found = [(rule.name, rule.reason(evidence)) for rule in self.of]
        if any(words is None for _, words in found):
            return None
        return "; ".join(f"{name}: {words}" for name, words in found)
