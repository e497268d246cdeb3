"""The database is there whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from al_orchestrator.errors import TrackingError
from al_orchestrator.tracking.local_store import ensure_database


def build_two_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE first (x)")
        connection.execute("CREATE TABLE second (x)")


def tables_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def test_a_missing_database_is_built(tmp_path: Path) -> None:
    database = tmp_path / "new" / "mlflow.db"
    ensure_database(database, build_two_tables)
    assert tables_of(database) == {"first", "second"}
    assert sorted(p.name for p in database.parent.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def test_a_database_that_exists_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    build_two_tables(database)
    before = database.read_bytes()

    def refuse(path: Path) -> None:
        raise AssertionError(f"built {path} again")

    ensure_database(database, refuse)
    assert database.read_bytes() == before


def test_an_empty_file_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    ensure_database(tmp_path / "mlflow.db", build_two_tables)
    assert tables_of(tmp_path / "mlflow.db") == {"first", "second"}


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail_half_way(path: Path) -> None:
        build_two_tables(path)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        ensure_database(tmp_path / "mlflow.db", fail_half_way)
    assert [p.name for p in tmp_path.iterdir()] == ["mlflow.db.lock"]


KILLED_HALF_WAY = """
import os, signal, sqlite3, sys
from pathlib import Path
from al_orchestrator.tracking.local_store import ensure_database

def build(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE first (x)")
    os.kill(os.getpid(), signal.SIGKILL)

ensure_database(Path(sys.argv[1]), build)
"""


def test_what_a_killed_build_leaves_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    killed = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, str(database)], check=False)
    assert killed.returncode == -9
    assert not database.exists()
    assert len(list(tmp_path.glob(".mlflow.db.*.tmp"))) == 1

    ensure_database(database, build_two_tables)

    assert tables_of(database) == {"first", "second"}
    assert list(tmp_path.glob(".*")) == []


def test_of_many_that_come_at_once_one_builds_and_all_find_it_whole(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    gate = threading.Barrier(8)
    built: list[Path] = []
    found: list[set[str]] = []

    def build(path: Path) -> None:
        built.append(path)
        build_two_tables(path)

    def come() -> None:
        gate.wait()
        ensure_database(database, build)
        found.append(tables_of(database))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert found == [{"first", "second"}] * 8


def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    database.write_text("these are not the tables you are looking for" * 100)
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be opened as a database.*move it"):
        ensure_database(database, build_two_tables)
    assert database.read_text().startswith("these are not")


def test_a_folder_that_cannot_be_made_is_an_error_of_tracking(tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("a file where the folder should be")
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be created.*writable"):
        ensure_database(tmp_path / "workspace" / "mlflow.db", build_two_tables)
