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
from typing import ClassVar

from al_orchestrator.messages import Kind, Message

__all__ = ["Kind", "Message", "RunIdentity", "TrackedRun", "Tracker"]


@dataclass(frozen=True)
class RunIdentity:
    """How the mirror finds the run again, whoever asks."""

    key: str  # unique; the tag `alo.run_key`
    name: str
    experiment: str
    folder: Path  # the run folder, absolute
    started_ms: int | None = None  # when the run was created; None: now


@dataclass(frozen=True)
class TrackedRun:
    """A run as the mirror shows it, for people who have no other copy of it."""

    name: str
    is_finished: bool
    params: Mapping[str, str]  # dotted fields of the experiment
    tags: Mapping[str, str]
    metrics: Mapping[str, Mapping[int, float]]  # name -> labels trained on -> value


class Tracker(ABC):
    """Shows a run to people. Used from one thread at a time."""

    shows_artifacts: ClassVar[bool] = True
    """Whether pictures and tables of a round are to be rendered for it at all."""

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
    def place_below(self, parent: RunIdentity) -> None:
        """Shows the open run as one of several below `parent`, which has been opened before.

        Raises:
            TrackingError: It was not taken; call again later.
        """

    @abstractmethod
    def close(self) -> None:
        """Lets go of connections. Never raises."""
