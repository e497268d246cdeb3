"""MLflow's web page on a place: the command that serves it, and what it needs around it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType

from al_orchestrator.errors import TrackingError
from al_orchestrator.tracking.local_store import check_database
from al_orchestrator.tracking.place import Place

UI_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Without its job runner it is up in a third of the time, with a quarter of the memory.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
)
"""To be added to the environment of `ui_command`."""


def ui_command(place: Place, *, port: int = 5000) -> list[str]:
    """The command that shows `place` at http://127.0.0.1:`port`, to this machine only.

    Raises:
        TrackingError: `place` has a server of its own, or nothing was tracked there yet.
    """
    if place.is_server:
        raise TrackingError(f"{place} is a server already; open it in a browser")
    if place.database is not None:
        # The server would build a missing file in place, where a kill leaves half of it.
        if not place.database.exists():
            raise TrackingError(f"nothing is tracked in {place.database} yet; start a run first")
        check_database(place.database)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", place.uri]
    if place.artifacts is not None:
        command += ["--artifacts-destination", place.artifacts.as_uri()]
    return [*command, "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
