"""Where everything of a workspace lies, and who may write there.

::

    <root>/                         the workspace
        datasets/<fingerprint>/     packed datasets, shared, never written again
        encoders/                   what depends on an encoder alone, content-addressed
        mlflow.db, mlartifacts/     the local mirror
        <run>/
            lock                    held by the controller for as long as it lives
            experiment.yaml         what was asked for, complete
            pool.db                 the ledger
            alo.log                 what was said
            protocol/               the protocol card, written anew whenever it is sent
            round-003/
                train.attempt-2/    a worker's own folder
                score.attempt-1/
                selection/          what a strategy tells of every candidate, and keeps for later
                report/             what people look at, rendered from the ledger
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from al_orchestrator.errors import ConfigError, RunInUse

_RESERVED = frozenset({"datasets", "encoders", "mlartifacts", "compare"})


@dataclass(frozen=True)
class Workspace:
    """The folder that runs share."""

    root: Path  # absolute

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    def run(self, name: str) -> RunDir:
        """The folder of a run; it need not exist.

        Raises:
            ConfigError: The name is one the workspace needs for itself.
        """
        if name in _RESERVED or name.startswith("mlflow.db"):
            raise ConfigError(f"a run cannot be called {name!r}: the workspace needs that folder")
        return RunDir(self.root / name)

    def runs(self) -> list[RunDir]:
        """Every run that has a ledger, by name."""
        return [RunDir(path.parent) for path in sorted(self.root.glob("*/pool.db"))]


@dataclass(frozen=True)
class RunDir:
    """The only place that knows a file name of a run."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def ledger(self) -> Path:
        return self.folder / "pool.db"

    @property
    def has_ledger(self) -> bool:
        """Whether there is anything in the ledger's file or its write-ahead log."""
        files = (self.ledger, self.ledger.with_name("pool.db-wal"))
        return any(path.exists() and path.stat().st_size for path in files)

    @property
    def config(self) -> Path:
        return self.folder / "experiment.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "alo.log"

    @property
    def protocol(self) -> Path:
        return self.folder / "protocol"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    def round(self, number: int) -> Path:
        return self.folder / f"round-{number:03d}"

    def attempt(self, number: int, stage: str, attempt: int) -> Path:
        """A worker's own folder."""
        return self.round(number) / f"{stage}.attempt-{attempt}"

    def selection(self, number: int) -> Path:
        return self.round(number) / "selection"

    def report(self, number: int) -> Path:
        return self.round(number) / "report"

    def relative(self, path: Path) -> str:
        """`path` as the ledger stores it, so that a run folder can be moved."""
        return path.relative_to(self.folder).as_posix()

    @contextmanager
    def held(self, wait_s: float = 0.0) -> Iterator[None]:
        """Keeps every other controller out for as long as the block runs.

        The lock belongs to the process and vanishes with it, so a killed controller leaves none
        behind.

        Raises:
            RunInUse: Another process holds it; the message says which, where, and since when.
        """
        with self.lock.open("a+", encoding="utf-8") as file:
            _acquire(file.fileno(), self, wait_s)
            file.seek(0)
            file.truncate()
            owner = {"pid": os.getpid(), "host": socket.gethostname()}
            json.dump({**owner, "since": datetime.now(UTC).isoformat(timespec="seconds")}, file)
            file.flush()
            yield

    def owner(self) -> Mapping[str, object] | None:
        """Who drives the run at this moment: pid, host, since; None if nobody does."""
        if not self.lock.exists():
            return None
        with self.lock.open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_owner(self)
            return None

    def tidy(self, number: int, keep: frozenset[str]) -> None:
        """Removes what workers left in a closed round, but for logs, curves and `keep`."""
        for attempt in self.round(number).glob("*.attempt-*"):
            for path in attempt.rglob("*"):
                is_record = path.suffix in {".log", ".jsonl"} or self.relative(path) in keep
                if path.is_file() and not is_record:
                    path.unlink()

    def remove_report(self, number: int) -> None:
        """Forgets what was rendered of a round, so that it is rendered anew."""
        shutil.rmtree(self.report(number), ignore_errors=True)


def kept_of(*recorded: Mapping[str, object] | None) -> frozenset[str]:
    """Which files of a closed round stay: those its training and its explanation put on record."""
    names = ("checkpoint", "test_predictions", "maps", "log_probs")
    found = [each for each in recorded if each is not None]
    return frozenset(str(each[name]) for each in found for name in names if name in each)


def _acquire(handle: int, run: RunDir, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                owner = _read_owner(run)
                raise RunInUse(
                    f"{run.folder} is driven by process {owner.get('pid', '?')} on "
                    f"{owner.get('host', '?')} since {owner.get('since', '?')}; "
                    "wait for it or stop it"
                ) from error
            time.sleep(0.1)
        else:
            return


def _read_owner(run: RunDir) -> Mapping[str, object]:
    try:
        owner = json.loads(run.lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}
