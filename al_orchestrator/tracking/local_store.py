"""MLflow's own SQLite file, built aside and renamed into place.

MLflow creates some sixty tables, one migration after another, for a second or more. A process
killed in that time, or two that start at once, leave a file that MLflow neither opens nor
repairs. So the file is built under a temporary name, by one process at a time, and takes its name
when it is whole.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from al_orchestrator.errors import TrackingError
from al_orchestrator.files import replacing


def ensure_database(database: Path, build: Callable[[Path], None]) -> None:
    """Leaves a whole database at `database`, made by `build(temporary path)` if there is none.

    Raises:
        TrackingError: The file is something else, or its folder cannot be written.
    """
    try:
        if not _exists(database):
            with _alone(database):
                if not _exists(database):  # another process may have built it meanwhile
                    _build_aside(database, build)
    except OSError as error:
        raise TrackingError(
            f"{database} cannot be created ({error}); make its folder writable or let "
            "tracking.uri name another place"
        ) from error
    check_database(database)


def check_database(database: Path) -> None:
    """Reads one page: MLflow itself would try a file it cannot read ten times, for 100 seconds.

    Raises:
        TrackingError: There is no such file, or it is not a database.
    """
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        raise TrackingError(
            f"{database} cannot be opened as a database ({error}); move it away, then `alo sync` "
            "makes a new one and fills it from the ledgers"
        ) from error


def _exists(database: Path) -> bool:
    # MLflow would fill an empty file in place, the very thing that must not happen.
    return database.exists() and database.stat().st_size > 0


def _build_aside(database: Path, build: Callable[[Path], None]) -> None:
    for left_behind in database.parent.glob(f".{database.name}.*.tmp*"):
        left_behind.unlink()
    with replacing(database) as temporary:
        build(temporary)


@contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Holds the lock beside `database`; the kernel lets go of it whatever becomes of us."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
