"""The contract of a tracker: the mirror people look at, fed from the ledger's outbox.

A message is a small JSON object that was committed together with what it tells of, so it carries
its own timestamp and can be sent again: a tracker must make sending twice the same as sending
once. Control never reads a tracker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["run", "metrics", "artifacts", "status"]


@dataclass(frozen=True)
class Message:
    """One thing the mirror has yet to be told.

    Payloads by kind:

    * ``run``: ``{"params": {str: str}, "tags": {str: str}, "datasets": [{"name", "digest",
      "context", "rows"}]}``
    * ``metrics``: ``{"step": int, "metrics": {str: float}}``; the step is the number of labels
      trained on
    * ``artifacts``: ``{"folder": str, "to": str}``; every file below `folder` (relative to the
      run folder)
    * ``status``: ``{"status": "RUNNING" | "FINISHED" | "FAILED" | "KILLED"}``
    """

    kind: Kind
    payload: Mapping[str, object]
    timestamp_ms: int  # when it was committed; never the time of sending


@dataclass(frozen=True)
class RunIdentity:
    """How the mirror finds the run again, whoever asks."""

    key: str  # unique; the tag `alo.run_key`
    name: str
    experiment: str
    folder: Path  # the run folder, absolute


class Tracker(ABC):
    """Shows a run to people. Used from one thread at a time."""

    @abstractmethod
    def open(self, run: RunIdentity) -> str | None:
        """Finds or creates the run; returns where people can see it, if anywhere.

        Raises:
            TrackingError: It cannot be reached now; call again later.
        """

    @abstractmethod
    def send(self, message: Message) -> None:
        """Shows one message. Sending it twice changes nothing.

        Raises:
            TrackingError: It was not taken; the same message comes again later.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of connections. Never raises."""
