"""The command that serves MLflow's page."""

from __future__ import annotations

from pathlib import Path

import pytest

from al_orchestrator.errors import TrackingError
from al_orchestrator.tracking import MLflowTracking
from al_orchestrator.tracking.ui import ui_command


def test_a_server_needs_no_page_of_ours() -> None:
    place = MLflowTracking(uri="http://localhost:5000").place(Path("/w"))
    with pytest.raises(TrackingError, match="is a server already"):
        ui_command(place)


def test_an_untouched_workspace_has_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="start a run first"):
        ui_command(MLflowTracking().place(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_served_to_this_machine_only(tmp_path: Path) -> None:
    place = MLflowTracking(uri="postgresql://db/mlflow").place(tmp_path)
    command = ui_command(place, port=5011)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5011"
    assert command[command.index("--workers") + 1] == "1"
