"""What one transaction of the ledger writes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from al_orchestrator.errors import LedgerError
from al_orchestrator.pool.schema import ATTEMPT, EVENT, LABEL, OUTBOX, QUERY, ROUND, STAGE
from al_orchestrator.rounds import RoundState

StageName = Literal[
    "seed_set", "pretrain", "embed", "train", "stop_set", "score", "select", "explain", "label"
]
Outcome = Literal["recorded", "failed", "lost", "interrupted"]


def now_ms() -> int:
    """Wall-clock milliseconds since 1970, for people; never used to decide."""
    return time.time_ns() // 1_000_000


class Entry:
    """What one transaction writes. Made by `Pool.commit`, used only inside it."""

    def __init__(self, connection: sa.Connection, epoch: int) -> None:
        self._connection = connection
        self._epoch = epoch

    def open_round(self, number: int) -> None:
        """A round begins; its labelled set is on record."""
        self._insert(ROUND, number=number, state=RoundState.OPEN.value, opened_ms=now_ms())

    def move(self, number: int, old: RoundState, new: RoundState) -> None:
        """A round gets one state further.

        Raises:
            LedgerError: It is not in `old`, or `new` does not follow.
        """
        if new not in old.successors:
            raise LedgerError(f"round {number} is {old}, so it cannot become {new}")
        moved = self._connection.execute(
            sa.update(ROUND)
            .where(ROUND.c.number == number, ROUND.c.state == old.value)
            .values(state=new.value)
        )
        if moved.rowcount != 1:
            raise LedgerError(f"round {number} is not {old}, so it cannot become {new}")

    def stage(
        self, number: int, name: StageName, result: Mapping[str, Any], seconds: float
    ) -> None:
        """What a stage left behind."""
        self._insert(
            STAGE,
            round=number,
            name=name,
            result=json.dumps(result, sort_keys=True, allow_nan=False),
            seconds=seconds,
            recorded_ms=now_ms(),
        )

    def forget_stage(self, number: int, name: StageName) -> None:
        """Drops what a stage recorded, so that it runs again."""
        self._connection.execute(
            sa.delete(STAGE).where(STAGE.c.round == number, STAGE.c.name == name)
        )

    def start_attempt(self, number: int, stage: StageName, attempt: int) -> None:
        """A worker is about to be asked."""
        self._insert(
            ATTEMPT,
            round=number,
            stage=stage,
            number=attempt,
            epoch=self._epoch,
            started_ms=now_ms(),
        )

    def end_attempt(
        self, number: int, stage: StageName, outcome: Outcome, error: str | None = None
    ) -> None:
        """The attempt under way came to an end."""
        self._connection.execute(
            sa.update(ATTEMPT)
            .where(
                ATTEMPT.c.round == number,
                ATTEMPT.c.stage == stage,
                ATTEMPT.c.ended_ms.is_(None),
            )
            .values(ended_ms=now_ms(), outcome=outcome, error=error)
        )

    def ask(
        self, number: int, ids: Sequence[str], scores: Sequence[float], *, first_rank: int = 0
    ) -> None:
        """These ids, in this order, are asked for; round `number` is the first to train on them.

        A batch that is asked for in several steps goes on at `first_rank`.
        """
        self._connection.execute(
            sa.insert(QUERY),
            [
                {"id": str(id_), "round": number, "rank": rank, "score": float(score)}
                for rank, (id_, score) in enumerate(zip(ids, scores, strict=True), first_rank)
            ],
        )

    def answer(self, answers: Mapping[str, int], source: str) -> None:
        """Labels of ids that were asked; each is answered once."""
        at = now_ms()
        if answers:
            self._connection.execute(
                sa.insert(LABEL),
                [
                    {"id": str(id_), "label": int(label), "source": source, "answered_ms": at}
                    for id_, label in answers.items()
                ],
            )

    def tell(self, kind: str, payload: Mapping[str, Any]) -> None:
        """A message for the tracker, sent some time after the commit."""
        self._insert(
            OUTBOX,
            kind=kind,
            payload=json.dumps(payload, sort_keys=True, allow_nan=False),
            timestamp_ms=now_ms(),
        )

    def event(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Something people may ask about afterwards."""
        self._insert(
            EVENT,
            epoch=self._epoch,
            kind=kind,
            detail=json.dumps(detail, sort_keys=True),
            at_ms=now_ms(),
        )

    def _insert(self, table: sa.TableClause, **values: object) -> None:
        self._connection.execute(sa.insert(table).values(**values))
