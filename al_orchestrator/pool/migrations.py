"""Schema versions of the ledger, each reached from the one before in a transaction of its own.

`PRAGMA user_version` is the record that a step ran, and it is set in the same transaction, so a
ledger killed in the middle of a migration is the old one or the new one, never something between.
"""

from __future__ import annotations

import sqlalchemy as sa

from al_orchestrator.errors import NewerLedger
from al_orchestrator.pool.schema import STEPS

CURRENT_VERSION = len(STEPS)


def version_of(connection: sa.Connection) -> int:
    """The schema version on record; 0 for a file without a schema."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def refuse_newer(version: int, path: str) -> None:
    """Raises `NewerLedger` if this program is too old for a ledger of `version`."""
    if version > CURRENT_VERSION:
        raise NewerLedger(
            f"{path} has schema version {version}; this program knows up to {CURRENT_VERSION}. "
            "Use the newer al_orchestrator that wrote it."
        )


def migrate(engine: sa.Engine, path: str, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """Brings the ledger to the newest schema, one transaction a version."""
    with engine.connect() as connection:
        version = version_of(connection)
    refuse_newer(version, path)
    for number in range(version, len(steps)):
        with engine.begin() as connection:
            if version_of(connection) != number:  # another process was faster
                continue
            for statement in steps[number]:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"PRAGMA user_version = {number + 1}")
