"""MLflow's only door.

Every call is synchronous: MLflow's asynchronous logging loses what a killed process had not yet
sent, and says nothing of calls that failed. MLflow keeps one row for each (run, key, value,
timestamp, step), so a metric sent again with the ledger's timestamp changes nothing.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from pydantic import ValidationError

from al_orchestrator.errors import AloError, TrackingError
from al_orchestrator.tracking import payloads
from al_orchestrator.tracking.base import Message, RunIdentity, TrackedRun, Tracker
from al_orchestrator.tracking.local_store import ensure_database
from al_orchestrator.tracking.place import Place

logger = logging.getLogger(__name__)

# MLflow's limits; how much one request may hold, its client sees to.
_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
_DIGEST_LENGTH = 36
_METRICS_A_REQUEST = 1000


class MLflowTracker(Tracker):
    """Shows a run as one flat MLflow run, found again by its tag `alo.run_key`."""

    def __init__(self, place: Place, experiment: str | None = None) -> None:
        self._place = place
        self._experiment = experiment
        self._opened: _OpenRun | None = None

    def open(self, run: RunIdentity) -> str | None:
        """Finds or creates the run.

        Returns:
            The run's page: an address where a server shows it; for a database, the part that
            follows the address of `alo ui`.
        """
        with _reaching(self._place):
            if self._place.database is not None:
                ensure_database(self._place.database, self._build)
            client = MlflowClient(self._place.uri, self._place.uri)
            experiment_id = self._experiment_id(client, self._experiment or run.experiment)
            run_id = _run_id(client, experiment_id, run)
        encoders = f"{self._experiment or run.experiment}-encoders"
        self._opened = _OpenRun(
            client, run_id, run.folder, lambda: self._experiment_id(client, encoders)
        )
        page = f"/#/experiments/{experiment_id}/runs/{run_id}"
        return f"{self._place.uri}{page}" if self._place.is_server else page

    def send(self, message: Message) -> None:
        if self._opened is None:
            raise TrackingError(f"no run of {self._place} is open; call open() before send()")
        with _reaching(self._place):
            self._opened.show(message)

    def place_below(self, parent: RunIdentity) -> None:
        if self._opened is None:
            raise TrackingError(f"no run of {self._place} is open; call open() first")
        client = self._opened.client
        with _reaching(self._place):
            above = self._experiment_id(client, self._experiment or parent.experiment)
            client.set_tag(
                self._opened.run_id, "mlflow.parentRunId", _run_id(client, above, parent)
            )
            client.set_tag(self._opened.run_id, "alo.sweep", parent.name)

    def close(self) -> None:
        self._opened = None

    def _build(self, path: Path) -> None:
        """Makes a new database at `path`.

        A client would do so too, but gives MLflow's default experiment a folder in whatever the
        working directory is.
        """
        uri, artifacts = f"sqlite:///{path}", str(self._place.artifacts)
        SqlAlchemyStore(uri, artifacts).engine.dispose()  # type: ignore[no-untyped-call]

    def _experiment_id(self, client: MlflowClient, name: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is None:
            artifacts = self._place.artifacts
            location = None if artifacts is None else artifacts.as_uri()
            try:
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException:
                # Another run of the experiment may have been first.
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name!r} was deleted in {self._place}; restore it "
                f"(`mlflow experiments restore -x {found.experiment_id}`) or set "
                "tracking.experiment to another name"
            )
        return str(found.experiment_id)


def read_runs(place: Place, experiment: str, prefix: str) -> list[TrackedRun]:
    """See `MLflowTracking.read`."""
    if place.database is not None and not place.database.exists():
        raise TrackingError(f"{place} does not exist; name another with --uri")
    with _reaching(place):
        client = MlflowClient(place.uri, place.uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            names = sorted(each.name for each in client.search_experiments())
            raise TrackingError(
                f"{place} has no experiment {experiment!r}; it has {', '.join(names) or 'none'}"
            )
        runs, token = [], None
        while True:
            page = client.search_runs(
                [found.experiment_id],
                filter_string="tags.`alo.strategy` != ''",  # sweeps have none
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs += list(page)
            token = page.token
            if not token:
                return [_tracked(client, run, prefix) for run in runs]


def _tracked(client: MlflowClient, run: Run, prefix: str) -> TrackedRun:
    metrics: dict[str, dict[int, float]] = {}
    for name in sorted(run.data.metrics):
        if name.startswith(prefix):
            history = client.get_metric_history(run.info.run_id, name)
            ordered = sorted(history, key=lambda each: each.timestamp)
            metrics[name] = {int(each.step): float(each.value) for each in ordered}
    return TrackedRun(
        name=str(run.info.run_name),
        is_finished=run.info.status == "FINISHED",
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=metrics,
    )


def _run_id(client: MlflowClient, experiment_id: str, run: RunIdentity) -> str:
    if "'" in run.key:
        raise ValueError(f"run key {run.key!r} contains a quote, which MLflow cannot search for")
    found = client.search_runs(
        [experiment_id],
        filter_string=f"tags.`alo.run_key` = '{run.key}'",
        run_view_type=ViewType.ACTIVE_ONLY,
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    if found:
        return str(found[0].info.run_id)
    tags = {"alo.run_key": run.key}
    created = client.create_run(experiment_id, run.started_ms, tags, run.name)
    return str(created.info.run_id)


@contextmanager
def _reaching(place: Place) -> Iterator[None]:
    """Turns whatever MLflow and the libraries below it raise into one error that says where.

    A malformed message is a mistake of ours and stays what it is: sending it later would not help.
    """
    try:
        yield
    except (AloError, ValidationError):
        raise
    except Exception as error:
        reason = place.without_password(str(error).strip()) or type(error).__name__
        raise TrackingError(f"MLflow at {place} did not answer as it should: {reason}") from error


@dataclass(frozen=True)
class _OpenRun:
    """Shows messages on one run; each method may be repeated."""

    client: MlflowClient
    run_id: str
    folder: Path
    encoders: Callable[[], str]  # finds or creates the MLflow experiment of the encoders

    def show(self, message: Message) -> None:
        payload = message.payload
        match message.kind:
            case "run":
                self._describe(payloads.RunPayload.model_validate(payload))
            case "encoder":
                self._link_encoder(payloads.EncoderPayload.model_validate(payload))
            case "metrics":
                self._measure(payloads.MetricsPayload.model_validate(payload), message.timestamp_ms)
            case "artifacts":
                self._upload(payloads.ArtifactsPayload.model_validate(payload))
            case "status":
                self._set_status(
                    payloads.StatusPayload.model_validate(payload), message.timestamp_ms
                )

    def _describe(self, run: payloads.RunPayload) -> None:
        """Params keep their first value in MLflow; a later one is shown as a tag beside it."""
        first = self.client.get_run(self.run_id).data.params
        wanted = {_legal(key): value[:_PARAM_LENGTH] for key, value in run.params.items()}
        changed = {
            f"alo.now/{key}": value
            for key, value in wanted.items()
            if first.get(key, value) != value
        }
        params = [Param(key, value) for key, value in wanted.items() if key not in first]
        tags = [RunTag(_legal(key), value) for key, value in (run.tags | changed).items()]
        self.client.log_batch(self.run_id, params=params, tags=tags)
        if run.datasets:
            self.client.log_inputs(self.run_id, [_as_input(used) for used in run.datasets])

    def _link_encoder(self, encoder: payloads.EncoderPayload) -> None:
        """Shows a pretraining as a run of its own, once, and points to it from this run."""
        identity = RunIdentity(
            f"encoder-{encoder.key}", encoder.name, "", self.folder, encoder.created_ms
        )
        run_id = _run_id(self.client, self.encoders(), identity)
        if self.client.get_run(run_id).info.status != "FINISHED":
            params = [Param(_legal(k), v[:_PARAM_LENGTH]) for k, v in encoder.params.items()]
            tags = [RunTag(_legal(key), value) for key, value in encoder.tags.items()]
            self.client.log_batch(run_id, params=params, tags=tags)
            metrics = [
                Metric(_legal(name), value, encoder.created_ms, int(record["epoch"]))
                for record in encoder.history
                for name, value in record.items()
                if name != "epoch"
            ]
            for start in range(0, len(metrics), _METRICS_A_REQUEST):
                part = metrics[start : start + _METRICS_A_REQUEST]
                self.client.log_batch(run_id, metrics=part)
            self.client.set_terminated(run_id, "FINISHED", end_time=encoder.created_ms)
        self.client.set_tag(self.run_id, "alo.encoder", encoder.key)
        self.client.set_tag(self.run_id, "alo.encoder_run", run_id)

    def _measure(self, measured: payloads.MetricsPayload, timestamp_ms: int) -> None:
        step = measured.step
        metrics = [
            Metric(_legal(key), value, timestamp_ms, step)
            for key, value in measured.metrics.items()
        ]
        self.client.log_batch(self.run_id, metrics=metrics)

    def _upload(self, artifacts: payloads.ArtifactsPayload) -> None:
        folder = self.folder / artifacts.folder
        if not folder.is_dir():
            # It will not come back, and the messages behind this one must not wait for it.
            logger.warning("%s is gone, so its files are not shown in MLflow", folder)
            return
        self.client.log_artifacts(self.run_id, str(folder), artifacts.to or None)

    def _set_status(self, status: payloads.StatusPayload, timestamp_ms: int) -> None:
        if status.status == "RUNNING":
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            self.client.set_terminated(self.run_id, status.status, end_time=timestamp_ms)


def _as_input(used: payloads.UsedDataset) -> DatasetInput:
    # MLflow keeps one context for each (name, digest), and pool and test share the digest.
    dataset = Dataset(
        name=f"{used.name}/{used.context}",
        digest=used.digest[:_DIGEST_LENGTH],
        source_type="alo",
        source=json.dumps({"dataset": used.name, "digest": used.digest}),
        profile=json.dumps({"num_rows": used.rows}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", used.context)])


def _legal(key: str) -> str:
    """`key` in the letters and the length that MLflow allows."""
    return re.sub(r"[^\w.:/ -]", "_", key)[:_KEY_LENGTH]
