"""Runs as people see them in MLflow."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from pydantic import ValidationError

from al_orchestrator.errors import TrackingError
from al_orchestrator.tracking import Message, MLflowTracking, RunIdentity, Tracker

pytestmark = pytest.mark.mlflow


@pytest.fixture
def tracker(with_mlflow: Path) -> Iterator[Tracker]:
    connected = MLflowTracking().connect(with_mlflow)
    yield connected
    connected.close()


@pytest.fixture
def client(tracker: Tracker, tmp_path: Path) -> MlflowClient:
    return MlflowClient(MLflowTracking().place(tmp_path).uri)


def experiment_id(client: MlflowClient, name: str = "faces") -> str:
    found = client.get_experiment_by_name(name)
    assert found is not None
    return str(found.experiment_id)


def runs_of(client: MlflowClient, experiment: str = "faces") -> list[Run]:
    return list(client.search_runs([experiment_id(client, experiment)]))


def describe(*, tags: dict[str, str] | None = None, **params: str) -> Message:
    return Message("run", {"params": params, "tags": tags or {}, "datasets": []}, 2_000)


def test_everything_sent_twice_stands_there_once(
    tracker: Tracker, client: MlflowClient, run: RunIdentity, messages: list[Message]
) -> None:
    for _ in range(2):
        tracker.open(run)
        for message in messages:
            tracker.send(message)
            tracker.send(message)

    [shown] = runs_of(client)
    run_id = shown.info.run_id
    history = client.get_metric_history(run_id, "test/accuracy")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (35, 0.25, 3_000),
        (70, 0.5, 4_000),
    ]
    assert shown.data.params == {"strategy.name": "badge", "seed": "0", "encoder": ""}
    assert shown.data.tags["alo.strategy"] == "badge"
    assert [file.path for file in client.list_artifacts(run_id, "round-000")] == ["round-000/a.txt"]
    assert (shown.info.status, shown.info.start_time, shown.info.end_time) == (
        "FINISHED",
        1_000,
        6_000,
    )


def test_what_was_sent_is_read_back_run_by_run(
    tracker: Tracker, tmp_path: Path, run: RunIdentity, messages: list[Message]
) -> None:
    tracker.open(run)
    for message in messages:
        tracker.send(message)
    tracker.send(Message("metrics", {"step": 70, "metrics": {"test/nll": 1.5}}, 4_500))
    tracker.open(replace(run, key="sweep-1", name="sweep"))  # no run of an experiment
    tracker.send(describe(tags={"alo.kind": "sweep"}))

    [read] = MLflowTracking().read(tmp_path, "faces", "test/accuracy")
    assert (read.name, read.is_finished) == ("badge-0", True)
    assert read.params["strategy.name"] == "badge"
    assert read.tags["alo.run_key"] == run.key
    assert read.metrics == {"test/accuracy": {35: 0.25, 70: 0.5}}


def test_an_experiment_that_is_not_there_is_answered_with_those_that_are(
    tracker: Tracker, tmp_path: Path, run: RunIdentity
) -> None:
    tracker.open(run)
    with pytest.raises(TrackingError, match=r"no experiment 'fases'; it has .*faces"):
        MLflowTracking().read(tmp_path, "fases", "test/accuracy")
    with pytest.raises(TrackingError, match="does not exist"):
        MLflowTracking().read(tmp_path / "elsewhere", "faces", "test/accuracy")


def test_pool_and_test_set_are_both_shown_although_they_share_a_digest(
    tracker: Tracker, client: MlflowClient, run: RunIdentity, messages: list[Message]
) -> None:
    tracker.open(run)
    tracker.send(messages[0])
    [shown] = runs_of(client)
    assert shown.inputs is not None
    used = {
        entry.dataset.name: (entry.tags[0].value, entry.dataset.digest)
        for entry in shown.inputs.dataset_inputs
    }
    assert used == {"fer13/pool": ("pool", "d" * 36), "fer13/test": ("test", "d" * 36)}


def test_the_newest_round_is_the_value_shown_whatever_comes_late(
    tracker: Tracker, client: MlflowClient, run: RunIdentity, messages: list[Message]
) -> None:
    tracker.open(run)
    for message in (messages[2], messages[1]):
        tracker.send(message)
    assert runs_of(client)[0].data.metrics["test/accuracy"] == 0.5


def test_open_tells_where_to_look(tracker: Tracker, client: MlflowClient, run: RunIdentity) -> None:
    page = tracker.open(run)
    [shown] = runs_of(client)
    assert page == f"/#/experiments/{shown.info.experiment_id}/runs/{shown.info.run_id}"


def test_artifacts_go_to_the_workspace_and_nowhere_else(tmp_path: Path, run: RunIdentity) -> None:
    MLflowTracking().connect(tmp_path).open(run)
    client = MlflowClient(MLflowTracking().place(tmp_path).uri)
    [shown] = runs_of(client)
    assert shown.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())
    assert client.get_experiment("0").artifact_location == f"{tmp_path}/mlartifacts/0"


def test_the_configured_experiment_has_precedence(
    tmp_path: Path, client: MlflowClient, run: RunIdentity
) -> None:
    MLflowTracking(experiment="elsewhere").connect(tmp_path).open(run)
    assert [shown.info.run_name for shown in runs_of(client, "elsewhere")] == ["badge-0"]


def test_each_key_has_a_run_of_its_own(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    first = tracker.open(run)
    second = tracker.open(replace(run, key="badge-1#2e"))
    assert first != second
    assert tracker.open(run) == first
    assert len(runs_of(client)) == 2


def test_a_run_somebody_deleted_is_not_revived_but_made_anew(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    tracker.open(run)
    [deleted] = runs_of(client)
    client.delete_run(deleted.info.run_id)
    tracker.open(run)
    [shown] = runs_of(client)
    assert shown.info.run_id != deleted.info.run_id


def test_a_deleted_experiment_is_named_with_the_way_back(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    tracker.open(run)
    client.delete_experiment(experiment_id(client))
    with pytest.raises(TrackingError, match=r"'faces' was deleted.*experiments restore"):
        tracker.open(run)


def test_a_param_keeps_its_first_value_and_a_tag_tells_the_later_one(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    tracker.open(run)
    tracker.send(describe(total="350", seed="0"))
    tracker.send(describe(total="700", seed="0"))
    [shown] = runs_of(client)
    assert shown.data.params == {"total": "350", "seed": "0"}
    assert shown.data.tags["alo.now/total"] == "700"
    assert "alo.now/seed" not in shown.data.tags


def test_a_value_longer_than_mlflow_keeps_may_be_sent_again(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    tracker.open(run)
    for _ in range(2):
        tracker.send(describe(ids="x" * 10_000))
    [shown] = runs_of(client)
    assert shown.data.params == {"ids": "x" * 6_000}
    assert "alo.now/ids" not in shown.data.tags


def test_letters_mlflow_refuses_do_not_stop_the_outbox(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    tracker.open(run)
    tracker.send(Message("metrics", {"step": 1, "metrics": {"test/recall/joy (2)": 0.5}}, 3_000))
    assert runs_of(client)[0].data.metrics == {"test/recall/joy _2_": 0.5}


def test_artifacts_that_are_gone_do_not_stop_the_outbox(
    tracker: Tracker, run: RunIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    tracker.open(run)
    tracker.send(Message("artifacts", {"folder": "round-009", "to": ""}, 5_000))
    assert "round-009 is gone" in caplog.text


def test_a_run_that_goes_on_is_shown_as_running_again(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    tracker.open(run)
    for status in ("KILLED", "RUNNING"):
        tracker.send(Message("status", {"status": status}, 6_000))
    assert runs_of(client)[0].info.status == "RUNNING"


def test_a_malformed_message_is_a_mistake_of_ours_not_of_the_network(
    tracker: Tracker, run: RunIdentity
) -> None:
    tracker.open(run)
    with pytest.raises(ValidationError):
        tracker.send(Message("metrics", {"metrics": {"a": 1.0}}, 3_000))


def test_sending_before_opening_is_refused(tracker: Tracker) -> None:
    with pytest.raises(TrackingError, match="call open"):
        tracker.send(Message("status", {"status": "RUNNING"}, 1))


@contextmanager
def listening_but_silent() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield int(listener.getsockname()[1])


@pytest.mark.timeout(20)
def test_a_server_that_is_down_is_an_error_at_once(tmp_path: Path, run: RunIdentity) -> None:
    with listening_but_silent() as port:
        pass  # closed again, so that nobody answers there
    tracker = MLflowTracking(uri=f"http://ann:secret@127.0.0.1:{port}").connect(tmp_path)
    with pytest.raises(TrackingError, match="Connection refused") as caught:
        tracker.open(run)
    assert f"ann:…@127.0.0.1:{port}" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.timeout(20)
def test_a_server_that_hangs_is_given_up(
    tmp_path: Path, run: RunIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with listening_but_silent() as port:
        tracker = MLflowTracking(uri=f"http://127.0.0.1:{port}").connect(tmp_path)
        with pytest.raises(TrackingError, match="timed out"):
            tracker.open(run)


@pytest.mark.timeout(20)
def test_a_file_that_is_no_database_is_refused_before_mlflow_tries_it_for_minutes(
    tracker: Tracker, run: RunIdentity, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").write_text("nonsense" * 1000)
    with pytest.raises(TrackingError, match="cannot be opened as a database"):
        tracker.open(run)


def test_an_encoder_is_a_run_of_its_own_that_all_its_runs_point_to(
    tracker: Tracker, client: MlflowClient, run: RunIdentity
) -> None:
    encoder = Message(
        "encoder",
        {
            "key": "3f2a",
            "name": "simclr-resnet10_narrow-3f2a",
            "created_ms": 500,
            "params": {"pretrain.name": "simclr"},
            "tags": {"alo.encoder_digest": "d1"},
            "history": [
                {"epoch": 1, "loss": 5.0, "effective_rank": 3.0},
                {"epoch": 2, "loss": 4.0, "effective_rank": 6.0},
            ],
        },
        2_000,
    )
    for name in ("first", "second"):
        tracker.open(replace(run, key=name, name=name))
        tracker.send(encoder)
        tracker.send(encoder)
    [shown] = runs_of(client, "faces-encoders")
    history = client.get_metric_history(shown.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 5.0), (2, 4.0)]
    assert shown.data.metrics["effective_rank"] == 6.0
    assert shown.data.params == {"pretrain.name": "simclr"}
    assert shown.info.status == "FINISHED"
    for each in runs_of(client):
        assert each.data.tags["alo.encoder"] == "3f2a"
        assert each.data.tags["alo.encoder_run"] == shown.info.run_id
