"""No mirror: the ledger alone remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from al_orchestrator.tracking.base import Message, RunIdentity, Tracker


class NullTracker(Tracker):
    """Takes every message and shows none."""

    shows_artifacts = False

    def open(self, run: RunIdentity) -> str | None:  # noqa: ARG002
        return None

    def send(self, message: Message) -> None:
        pass

    def place_below(self, parent: RunIdentity) -> None:
        pass

    def close(self) -> None:
        pass


class NoTracking(BaseModel):
    """Shows the run nowhere, and draws nothing while it runs.

    `alo status`, `alo compare` and `alo report` read the ledger all the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Literal["nothing"] = "nothing"

    def connect(self, workspace: Path) -> Tracker:  # noqa: ARG002
        return NullTracker()
