"""Every error a user of `alo` may meet.

::

    AloError                     something `alo` says in one message, without a traceback
    ├── ConfigError              the YAML, an override or the command line; exit code 2
    │   ├── RunMismatch          the run folder belongs to another experiment
    │   └── DatasetError         the source is missing, corrupt, or not what the config says
    ├── RunInUse                 another controller drives this run; exit code 2
    ├── LedgerError              the ledger refuses: a wrong state, a second answer, a newer schema
    │   └── NewerLedger          written by a newer version of the program; exit code 2
    ├── InvariantBroken          a component did what its contract forbids; nothing is recorded
    ├── SelectionRefused         the strategy cannot select from what this round has; goes on later
    ├── JobFailed                work on a worker failed; carries the remote traceback and log path
    │   └── WorkerLost           the worker died under it; may be tried again
    └── TrackingError            the mirror could not be reached; the round goes on

Messages give the value, the rule and the way out. All of them survive pickling.
"""

from __future__ import annotations

from pathlib import Path


class AloError(Exception):
    """Root of the errors `alo` reports to people."""

    exit_code = 1


class ConfigError(AloError):
    """What was asked for cannot be run as it is written."""

    exit_code = 2


class RunMismatch(ConfigError):
    """The run folder holds another experiment; the message lists the fields that differ."""


class DatasetError(ConfigError):
    """A dataset cannot be read as asked; the message names the file and the reason."""


class RunInUse(AloError):
    """Another controller holds the run's lock."""

    exit_code = 2


class LedgerError(AloError):
    """The ledger refused a change; nothing was written."""


class NewerLedger(LedgerError):
    """The ledger was written by a newer program."""

    exit_code = 2


class SelectionRefused(AloError):
    """A strategy cannot select from what a round has; the message is the strategy's."""


class InvariantBroken(AloError):
    """A component broke its contract; what it returned was not recorded."""


class TrackingError(AloError):
    """The tracking server did not take a message; it stays in the outbox."""


class JobFailed(AloError):
    """A function failed on a worker."""

    def __init__(self, what: str, remote_traceback: str = "", log: Path | None = None) -> None:
        super().__init__(what, remote_traceback, log)
        self.what = what
        self.remote_traceback = remote_traceback
        self.log = log

    def __str__(self) -> str:
        parts = [self.what]
        if self.remote_traceback:
            parts.append(self.remote_traceback.rstrip())
        if self.log is not None:
            parts.append(f"log: {self.log}")
        return "\n".join(parts)


class WorkerLost(JobFailed):
    """The worker died before it could answer: killed, out of memory, or its node is gone."""
