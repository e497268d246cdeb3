"""One turn of train, evaluate, query, label: how far it got, and a snapshot of it.

::

    OPEN ──train──► TRAINED ──predict, select──► QUERIED ──oracle──► LABELLED ──► CLOSED
                        └──────────── the last round asks for nothing ───────────► CLOSED
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RoundState(StrEnum):
    """How far a round got; each value says what is on record."""

    OPEN = "open"  # its labelled set
    TRAINED = "trained"  # a checkpoint and its metrics
    QUERIED = "queried"  # the next round's batch, not all of it answered
    LABELLED = "labelled"  # every answer
    CLOSED = "closed"  # nothing is left to do

    @property
    def successors(self) -> frozenset[RoundState]:
        """States a round may move to from here."""
        return _SUCCESSORS[self]


_SUCCESSORS = {
    RoundState.OPEN: frozenset({RoundState.TRAINED}),
    RoundState.TRAINED: frozenset({RoundState.QUERIED, RoundState.CLOSED}),
    RoundState.QUERIED: frozenset({RoundState.LABELLED}),
    RoundState.LABELLED: frozenset({RoundState.CLOSED}),
    # Only when the budget of a finished experiment grows: the last round then asks after all.
    RoundState.CLOSED: frozenset({RoundState.TRAINED}),
}


@dataclass(frozen=True)
class Round:
    """A snapshot of one round; it never changes under its reader."""

    number: int
    state: RoundState
    labelled: int  # labels this round trains on
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)  # wall time of each stage
