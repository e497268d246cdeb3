"""The ledger's tables, and the statements that lead from one schema version to the next.

A step that has been released never changes; a new version appends a step and leaves a ledger of
the old version in ``tests/data``.
"""

from __future__ import annotations

import sqlalchemy as sa

_V1 = (
    # What was asked for, and which start of the controller may write (`epoch`).
    """
    CREATE TABLE experiment (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        run_key TEXT NOT NULL,
        identity TEXT NOT NULL,
        dataset TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        epoch INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE round (
        number INTEGER PRIMARY KEY CHECK (number >= 0),
        state TEXT NOT NULL
            CHECK (state IN ('open', 'trained', 'queried', 'labelled', 'closed')),
        opened_ms INTEGER NOT NULL
    )
    """,
    # What a stage of a round left behind; recorded once, in the transaction of its effects.
    """
    CREATE TABLE stage (
        round INTEGER NOT NULL,
        name TEXT NOT NULL,
        result TEXT NOT NULL,
        seconds REAL NOT NULL,
        recorded_ms INTEGER NOT NULL,
        PRIMARY KEY (round, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE attempt (
        round INTEGER NOT NULL,
        stage TEXT NOT NULL,
        number INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        started_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        outcome TEXT CHECK (outcome IN ('recorded', 'failed', 'lost', 'interrupted')),
        error TEXT,
        PRIMARY KEY (round, stage, number)
    ) WITHOUT ROWID
    """,
    # A sample has no row until it is asked for; `round` is the first round that trains on it.
    """
    CREATE TABLE query (
        id TEXT PRIMARY KEY,
        round INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        score REAL NOT NULL,
        UNIQUE (round, rank)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE label (
        id TEXT PRIMARY KEY REFERENCES query (id),
        label INTEGER NOT NULL CHECK (label >= 0),
        source TEXT NOT NULL,
        answered_ms INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    # What the tracker has yet to be told.
    """
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        payload TEXT NOT NULL,
        timestamp_ms INTEGER NOT NULL,
        sent_ms INTEGER
    )
    """,
    "CREATE INDEX outbox_unsent ON outbox (number) WHERE sent_ms IS NULL",
    # Starts, resumes, failures: what people ask about afterwards.
    """
    CREATE TABLE event (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        epoch INTEGER NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,
        at_ms INTEGER NOT NULL
    )
    """,
)

STEPS: tuple[tuple[str, ...], ...] = (_V1,)

# The newest schema, as queries see it.
EXPERIMENT = sa.table(
    "experiment", *map(sa.column, ("one", "run_key", "identity", "dataset", "created_ms", "epoch"))
)
ROUND = sa.table("round", *map(sa.column, ("number", "state", "opened_ms")))
STAGE = sa.table("stage", *map(sa.column, ("round", "name", "result", "seconds", "recorded_ms")))
ATTEMPT = sa.table(
    "attempt",
    *map(
        sa.column,
        ("round", "stage", "number", "epoch", "started_ms", "ended_ms", "outcome", "error"),
    ),
)
QUERY = sa.table("query", *map(sa.column, ("id", "round", "rank", "score")))
LABEL = sa.table("label", *map(sa.column, ("id", "label", "source", "answered_ms")))
OUTBOX = sa.table(
    "outbox", *map(sa.column, ("number", "kind", "payload", "timestamp_ms", "sent_ms"))
)
EVENT = sa.table("event", *map(sa.column, ("number", "epoch", "kind", "detail", "at_ms")))
