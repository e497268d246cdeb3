"""What YAML may say about MLflow; MLflow itself is imported when `connect` is called."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from al_orchestrator.tracking.base import TrackedRun, Tracker
from al_orchestrator.tracking.place import Place, checked_uri, place_of

_ENVIRONMENT = {
    # A dead server costs an instant, one that hangs two times 10 s. One retry is needed all the
    # same: after a server's restart the first request meets the old connection.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Else it writes below $HOME and posts from a thread.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # What the terminal shows of a run is for `alo` to say.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class MLflowTracking(BaseModel):
    """Mirrors every round to MLflow: one flat run per `alo` run, the step is the label count.

    MLflow reads its timeouts, its silence and its abstinence from telemetry in the environment;
    `connect` sets them there unless the user has. MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD work as they do in MLflow.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: Literal["mlflow"] = "mlflow"
    uri: Annotated[str, AfterValidator(checked_uri)] | None = None
    """Tracking URI; by default `mlflow.db` in the workspace, with artifacts in `mlartifacts`."""
    experiment: str | None = Field(default=None, min_length=1, max_length=500)
    """MLflow experiment the run is filed under; by default the name of the dataset."""

    def place(self, workspace: Path) -> Place:
        return place_of(self.uri, workspace)

    def connect(self, workspace: Path) -> Tracker:
        """A tracker that reaches MLflow when it is opened. Imports MLflow: about a second."""
        self._prepare()
        from al_orchestrator.tracking.mlflow_tracker import MLflowTracker

        return MLflowTracker(self.place(workspace), self.experiment)

    def read(self, workspace: Path, experiment: str, prefix: str) -> list[TrackedRun]:
        """The runs of `alo` that an MLflow experiment shows, oldest first.

        Args:
            workspace: Whose place it is, where `uri` names none.
            experiment: Its name in MLflow.
            prefix: Of the metrics wanted, such as ``test/accuracy``.

        Raises:
            TrackingError: There is no such experiment, or MLflow cannot be reached.
        """
        self._prepare()
        from al_orchestrator.tracking.mlflow_tracker import read_runs

        return read_runs(self.place(workspace), experiment, prefix)

    def _prepare(self) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # It warns of every retry; the `TrackingError` that may follow says it once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
