"""The ledger of samples asked for, answered, and rounds driven: one SQLite file, one writer.

The pool itself is an immutable manifest; the ledger holds only what happened to it. Nothing is
stored that can be derived: a sample without a query row is unlabelled, one with a query and no
label was asked and not answered yet, and what is spent is counted. The schema makes the promises
true: a sample is asked once (primary key), only what was asked is answered (foreign key), a round
moves one state at a time (the update names the old state).

Only a controller writes, through `Pool.commit`: one transaction for a result, the messages that
tell of it, and the new state. Each start of a controller raises the *epoch*, and a commit whose
epoch is not the newest is refused, so a predecessor that was merely asleep cannot write. What is
read is a snapshot.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from al_orchestrator.errors import LedgerError
from al_orchestrator.messages import Message
from al_orchestrator.pool.engine import open_engine
from al_orchestrator.pool.entry import Entry, StageName, now_ms
from al_orchestrator.pool.migrations import migrate, refuse_newer, version_of
from al_orchestrator.pool.schema import (
    ATTEMPT,
    EVENT,
    EXPERIMENT,
    LABEL,
    OUTBOX,
    QUERY,
    ROUND,
    STAGE,
)
from al_orchestrator.rounds import Round, RoundState


@dataclass(frozen=True)
class Provenance:
    """What an experiment is, as it was when its ledger was made."""

    run_key: str
    identity: str  # digest of the configuration's identity fields
    dataset: str  # fingerprint of the manifest


@dataclass(frozen=True)
class Acquired:
    """One sample asked for, in the order of acquisition."""

    round: int  # the first round that trains on it; the seed set is round 0
    rank: int
    id: str
    label: int | None  # None until it is answered
    source: str | None
    score: float


@dataclass(frozen=True)
class Event:
    """Something people may ask about afterwards."""

    kind: str
    detail: Mapping[str, Any]
    epoch: int
    at_ms: int


class Pool:
    """The ledger of one run."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens the ledger, creating or migrating it unless `read_only`.

        Raises:
            NewerLedger: A newer program wrote it.
            LedgerError: It cannot be read, or is not there and `read_only`.
        """
        self.path = path
        self._read_only = read_only
        self._writing = threading.RLock()
        self._epoch = 0
        if read_only and not path.exists():
            raise LedgerError(f"{path} does not exist")
        try:
            if not read_only:
                self._writer = open_engine(path, read_only=False)
                migrate(self._writer, str(path))
            self._reader = open_engine(path, read_only=True)
            with self._reader.connect() as connection:
                refuse_newer(version_of(connection), str(path))
        except sa.exc.DBAPIError as error:
            raise LedgerError(f"{path} cannot be opened as a ledger: {error.orig}") from error

    def close(self) -> None:
        """Lets go of the file."""
        self._reader.dispose()
        if not self._read_only:
            self._writer.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing: only a controller, only after `take_over`.

    def found(self, provenance: Provenance) -> None:
        """Records what this run is; done once, before the first epoch.

        Raises:
            LedgerError: It is another run's ledger.
        """
        recorded = self.provenance()
        if recorded is not None:
            if recorded != provenance:
                raise LedgerError(f"{self.path} belongs to {recorded}, not to {provenance}")
            return
        with self._transaction() as connection:
            connection.execute(
                sa.insert(EXPERIMENT).values(
                    one=1, **vars(provenance), created_ms=now_ms(), epoch=0
                )
            )

    def take_over(self, detail: Mapping[str, Any]) -> int:
        """Starts a new epoch: from here on no earlier controller can commit. Returns its number."""
        with self._transaction() as connection:
            connection.execute(sa.update(EXPERIMENT).values(epoch=EXPERIMENT.c.epoch + 1))
            self._epoch = int(connection.execute(sa.select(EXPERIMENT.c.epoch)).scalar_one())
            connection.execute(
                sa.update(ATTEMPT)
                .where(ATTEMPT.c.ended_ms.is_(None))
                .values(ended_ms=now_ms(), outcome="interrupted")
            )
            Entry(connection, self._epoch).event("started", detail)
        return self._epoch

    @contextmanager
    def commit(self) -> Iterator[Entry]:
        """One transaction: everything in it becomes part of the ledger, or nothing does.

        Raises:
            LedgerError: This controller has been superseded, or a constraint does not hold.
        """
        with self._transaction() as connection:
            self._refuse_stale(connection)
            yield Entry(connection, self._epoch)

    def mark_sent(self, numbers: Sequence[int]) -> None:
        """Notes that the tracker took these messages."""
        with self._transaction() as connection:
            connection.execute(
                sa.update(OUTBOX).where(OUTBOX.c.number.in_(numbers)).values(sent_ms=now_ms())
            )

    def send_again(self) -> None:
        """Takes back that any message was taken: there is another tracker now."""
        with self._transaction() as connection:
            connection.execute(sa.update(OUTBOX).values(sent_ms=None))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._writing:
            try:
                with self._writer.begin() as connection:
                    yield connection
            except sa.exc.IntegrityError as error:
                raise LedgerError(f"the ledger refuses: {error.orig}") from error
            except sa.exc.DBAPIError as error:
                raise LedgerError(f"{self.path} could not be written: {error.orig}") from error

    def _refuse_stale(self, connection: sa.Connection) -> None:
        newest = connection.execute(sa.select(EXPERIMENT.c.epoch)).scalar()
        if newest != self._epoch:
            raise LedgerError(
                f"another controller took over this run (epoch {newest}, this one is "
                f"{self._epoch}); nothing was written"
            )

    # Reading: anyone, at any time.

    def provenance(self) -> Provenance | None:
        """What this run is, or None while its ledger is empty."""
        columns = (EXPERIMENT.c.run_key, EXPERIMENT.c.identity, EXPERIMENT.c.dataset)
        rows = self._rows(sa.select(*columns))
        return Provenance(*rows[0]) if rows else None

    def created_ms(self) -> int | None:
        """When the run began, or None while its ledger is empty."""
        rows = self._rows(sa.select(EXPERIMENT.c.created_ms))
        return rows[0][0] if rows else None

    def rounds(self) -> list[Round]:
        """Every round on record, ascending."""
        labelled = self._labels_by_round()
        stages = self._stages()
        return [
            Round(
                number=number,
                state=RoundState(state),
                labelled=sum(count for first, count in labelled.items() if first <= number),
                metrics=stages.get((number, "train"), ({}, 0.0))[0].get("metrics", {}),
                seconds={name: s for (of, name), (_, s) in stages.items() if of == number},
            )
            for number, state in self._rows(
                sa.select(ROUND.c.number, ROUND.c.state).order_by(ROUND.c.number)
            )
        ]

    def stage(self, number: int, name: StageName) -> Mapping[str, Any] | None:
        """What a stage of a round recorded, or None if it has not."""
        rows = self._rows(
            sa.select(STAGE.c.result).where(STAGE.c.round == number, STAGE.c.name == name)
        )
        return json.loads(rows[0][0]) if rows else None

    def acquired(self, number: int | None = None) -> list[Acquired]:
        """Samples asked for, in the order of acquisition; of one batch if `number` is given."""
        joined = QUERY.outerjoin(LABEL, QUERY.c.id == LABEL.c.id)
        columns = (QUERY.c.round, QUERY.c.rank, QUERY.c.id, LABEL.c.label, LABEL.c.source)
        asked = sa.select(*columns, QUERY.c.score).select_from(joined)
        if number is not None:
            asked = asked.where(QUERY.c.round == number)
        return [Acquired(*row) for row in self._rows(asked.order_by(QUERY.c.round, QUERY.c.rank))]

    def labelled(self, number: int) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
        """Ids (M,) and labels (M,) that round `number` trains on, ascending by id."""
        joined = LABEL.join(QUERY, QUERY.c.id == LABEL.c.id)
        rows = self._rows(
            sa.select(LABEL.c.id, LABEL.c.label)
            .select_from(joined)
            .where(QUERY.c.round <= number)
            .order_by(LABEL.c.id)
        )
        return (
            np.array([row[0] for row in rows], dtype=np.str_),
            np.array([row[1] for row in rows], dtype=np.int64),
        )

    def asked_ids(self, up_to: int | None = None) -> frozenset[str]:
        """Every id that was ever asked for; only for rounds up to `up_to`, if that is given."""
        asked = sa.select(QUERY.c.id)
        if up_to is not None:
            asked = asked.where(QUERY.c.round <= up_to)
        return frozenset(row[0] for row in self._rows(asked))

    def num_asked(self) -> int:
        """How many samples were ever asked for."""
        return self._count(QUERY)

    def num_answered(self) -> int:
        """How many of them have a label."""
        return self._count(LABEL)

    def unanswered(self, number: int) -> list[str]:
        """Ids of batch `number` that were asked and not answered, by rank."""
        return [sample.id for sample in self.acquired(number) if sample.label is None]

    def attempts(self, number: int, stage: StageName) -> list[int]:
        """Numbers of the attempts made at a stage, ascending."""
        return [
            row[0]
            for row in self._rows(
                sa.select(ATTEMPT.c.number)
                .where(ATTEMPT.c.round == number, ATTEMPT.c.stage == stage)
                .order_by(ATTEMPT.c.number)
            )
        ]

    def lost_attempts(self) -> int:
        """How many attempts ended because their worker was lost."""
        lost = sa.select(ATTEMPT.c.number).where(ATTEMPT.c.outcome == "lost")
        return len(self._rows(lost))

    def unsent(self) -> list[tuple[int, Message]]:
        """Messages the tracker has not taken, oldest first, each with its number."""
        rows = self._rows(
            sa.select(OUTBOX.c.number, OUTBOX.c.kind, OUTBOX.c.payload, OUTBOX.c.timestamp_ms)
            .where(OUTBOX.c.sent_ms.is_(None))
            .order_by(OUTBOX.c.number)
        )
        return [
            (number, Message(kind=kind, payload=json.loads(payload), timestamp_ms=at))
            for number, kind, payload, at in rows
        ]

    def events(self) -> list[Event]:
        """What happened to the run, oldest first."""
        columns = (EVENT.c.kind, EVENT.c.detail, EVENT.c.epoch, EVENT.c.at_ms)
        return [
            Event(kind, json.loads(detail), epoch, at)
            for kind, detail, epoch, at in self._rows(sa.select(*columns).order_by(EVENT.c.number))
        ]

    def _count(self, table: sa.TableClause) -> int:
        return int(self._rows(sa.select(sa.func.count()).select_from(table))[0][0])

    def _labels_by_round(self) -> dict[int, int]:
        joined = LABEL.join(QUERY, QUERY.c.id == LABEL.c.id)
        counted = sa.select(QUERY.c.round, sa.func.count()).select_from(joined)
        return {row[0]: row[1] for row in self._rows(counted.group_by(QUERY.c.round))}

    def _stages(self) -> dict[tuple[int, str], tuple[dict[str, Any], float]]:
        columns = (STAGE.c.round, STAGE.c.name, STAGE.c.result, STAGE.c.seconds)
        return {
            (number, name): (json.loads(result), seconds)
            for number, name, result, seconds in self._rows(sa.select(*columns))
        }

    def _rows(self, query: sa.Select[Any]) -> list[tuple[Any, ...]]:
        try:
            with self._reader.connect() as connection:
                return [tuple(row) for row in connection.execute(query)]
        except sa.exc.DBAPIError as error:
            raise LedgerError(f"{self.path} cannot be read: {error.orig}") from error
