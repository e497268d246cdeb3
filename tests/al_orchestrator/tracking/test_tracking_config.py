"""What YAML may say about tracking."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from al_orchestrator.tracking import (
    AnyTracking,
    Message,
    MLflowTracking,
    NoTracking,
    RunIdentity,
)

PARSE: TypeAdapter[MLflowTracking | NoTracking] = TypeAdapter(AnyTracking)


def test_the_name_chooses_the_tracker() -> None:
    assert isinstance(PARSE.validate_python({"name": "mlflow"}), MLflowTracking)
    assert isinstance(PARSE.validate_python({"name": "nothing"}), NoTracking)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="url"):
        PARSE.validate_python({"name": "mlflow", "url": "http://localhost:5000"})


def test_reading_a_configuration_does_not_import_mlflow() -> None:
    code = (
        "import sys; from al_orchestrator.tracking import MLflowTracking, NoTracking; "
        "MLflowTracking(uri='http://localhost:5000'); assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_uri_everything_stands_in_the_workspace(tmp_path: Path) -> None:
    place = MLflowTracking().place(tmp_path)
    assert place.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert place.database == tmp_path / "mlflow.db"
    assert place.artifacts == tmp_path / "mlartifacts"


def test_a_relative_workspace_gives_an_absolute_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert MLflowTracking().place(Path("here")).database == tmp_path / "here" / "mlflow.db"


def test_artifacts_of_a_named_database_file_stand_beside_it(tmp_path: Path) -> None:
    place = MLflowTracking(uri="sqlite:////data/all.db").place(tmp_path)
    assert place.artifacts == Path("/data/mlartifacts")


def test_a_server_decides_itself_where_artifacts_go(tmp_path: Path) -> None:
    place = MLflowTracking(uri="https://mlflow.example.org/").place(tmp_path)
    assert (place.uri, place.database, place.artifacts) == (
        "https://mlflow.example.org",
        None,
        None,
    )


def test_artifacts_of_a_database_server_go_to_the_workspace(tmp_path: Path) -> None:
    place = MLflowTracking(uri="postgresql+psycopg://db/mlflow").place(tmp_path)
    assert (place.database, place.artifacts) == (None, tmp_path / "mlartifacts")


@pytest.mark.parametrize(
    "uri", ["mlruns", "./mlruns", "file:///tmp/mlruns", "sqlite:///mlflow.db", "sqlite://", ""]
)
def test_a_place_that_depends_on_the_working_directory_or_is_retired_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError, match="four slashes"):
        MLflowTracking(uri=uri)


def test_a_password_is_not_shown() -> None:
    place = MLflowTracking(uri="http://ann:secret@host:5000").place(Path("/w"))
    assert str(place) == "http://ann:…@host:5000"
    assert place.without_password("no answer from ann:secret@host") == "no answer from ann:…@host"


def test_nothing_takes_every_message(tmp_path: Path) -> None:
    tracker = NoTracking().connect(tmp_path)
    assert tracker.open(RunIdentity("k", "n", "e", tmp_path)) is None
    tracker.send(Message("status", {"status": "FINISHED"}, 1))
    tracker.close()
    assert list(tmp_path.iterdir()) == []
