"""The door to SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool


def open_engine(path: Path, *, read_only: bool) -> sa.Engine:
    """An engine whose transactions are real ones.

    The sqlite3 module opens none before DDL or SELECT; so its own handling is switched off and each
    transaction starts with an explicit BEGIN: IMMEDIATE for a writer, so that it cannot lose a race
    after it has read; deferred for a reader, which sees a snapshot and keeps nobody waiting.
    """
    mode = "ro" if read_only else "rwc"
    engine = sa.create_engine(
        f"sqlite:///{path.resolve().as_uri()}?mode={mode}&uri=true",
        poolclass=QueuePool,
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
