"""MLflow's file among processes that are killed, come at once, or serve it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from al_orchestrator.tracking import Message, MLflowTracking, RunIdentity
from al_orchestrator.tracking.place import Place
from al_orchestrator.tracking.ui import UI_ENVIRONMENT, ui_command

pytestmark = pytest.mark.mlflow

OPEN_AND_SEND = """
import logging, sys
from pathlib import Path
from al_orchestrator.tracking import Message, MLflowTracking, RunIdentity

logging.basicConfig(level=logging.INFO)
workspace, key = Path(sys.argv[1]), sys.argv[2]
tracker = MLflowTracking().connect(workspace)
tracker.open(RunIdentity(key, key, "faces", workspace / "runs" / key))
tracker.send(Message("metrics", {"step": 35, "metrics": {"test/accuracy": 0.5}}, 3_000))
tracker.send(Message("status", {"status": "FINISHED"}, 4_000))
"""

# The process kills itself at its n-th statement, which is the same point each time.
KILL_AT_STATEMENT = """
import os, signal, sys
import sqlalchemy as sa
countdown = iter(range(int(sys.argv.pop()), -1, -1))

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def kill(*_):
    if next(countdown) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def start(code: str, *arguments: str, home: Path) -> subprocess.Popen[str]:
    """Starts Python in an empty working directory below an empty home."""
    (home / "cwd").mkdir(parents=True)
    # MLflow behaves differently where it takes itself to be tested.
    unwanted = ("MLFLOW_", "PYTEST_", "CI")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(unwanted)}
    repository = str(Path(__file__).parents[3])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=home / "cwd",
        env=environment | {"HOME": str(home), "PYTHONPATH": repository},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_process_killed_while_it_builds_the_file_does_no_harm(
    tmp_path: Path, run: RunIdentity
) -> None:
    code = KILL_AT_STATEMENT + OPEN_AND_SEND
    killed = start(code, str(tmp_path), "first", "300", home=tmp_path / "home")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()

    assert MLflowTracking().connect(tmp_path).open(run)
    assert not list(tmp_path.glob(".mlflow.db.*"))


def test_two_processes_that_come_first_at_once_share_one_experiment_in_silence(
    tmp_path: Path,
) -> None:
    both = [
        start(OPEN_AND_SEND, str(tmp_path / "w"), key, home=tmp_path / f"home-{key}")
        for key in ("a", "b")
    ]
    outputs = [process.communicate()[0] for process in both]

    assert outputs == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    client = MlflowClient(MLflowTracking().place(tmp_path / "w").uri)
    found = sorted((e.experiment_id, e.name) for e in client.search_experiments())
    assert found == [("0", "Default"), ("1", "faces")]
    shown = client.search_runs(["1"])
    assert sorted((r.info.run_name, r.info.status) for r in shown) == [
        ("a", "FINISHED"),
        ("b", "FINISHED"),
    ]
    # Neither the working directory nor the home was written to.
    for key in ("a", "b"):
        assert [path.name for path in (tmp_path / f"home-{key}").rglob("*")] == ["cwd"]


@contextmanager
def serving(place: Place, folder: Path) -> Iterator[str]:
    """Runs `ui_command` until the caller is done."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    server = subprocess.Popen(
        ui_command(place, port=port),
        cwd=folder,
        env=os.environ | UI_ENVIRONMENT,
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        said = []
        # It is ready before it listens, or listens before it is ready: as many workers as it has.
        awaited = {"Application startup complete", "Uvicorn running on"}
        for line in server.stdout:
            said.append(line)
            awaited = {words for words in awaited if words not in line}
            if not awaited:
                break
        else:
            pytest.fail("the server ended: " + "".join(said))
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def too_much_for_one_request() -> list[Message]:
    """A server refuses more than 100 params, 100 tags or 1000 metrics in one request."""
    params = {f"p{number}": str(number) for number in range(101)}
    tags = {f"t{number}": str(number) for number in range(101)}
    metrics = {f"m{number}": float(number) for number in range(1001)}
    return [
        Message("run", {"params": params, "tags": tags, "datasets": []}, 2_000),
        Message("metrics", {"step": 70, "metrics": metrics}, 4_000),
    ]


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_run_tracked_in_the_file_is_served_and_goes_on_through_the_server(
    tmp_path: Path, run: RunIdentity, messages: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # a busy machine serves slowly
    tracking = MLflowTracking()
    tracker = tracking.connect(tmp_path)
    page = tracker.open(run)
    tracker.send(messages[1])
    (tmp_path / "elsewhere").mkdir()

    with serving(tracking.place(tmp_path), tmp_path / "elsewhere") as address:
        remote = MLflowTracking(uri=address).connect(tmp_path)
        assert remote.open(run) == f"{address}{page}"
        for message in [*messages, *too_much_for_one_request()]:
            remote.send(message)
        run_id = str(page).rsplit("/", 1)[-1]
        shown = MlflowClient(address).get_run(run_id)
        history = MlflowClient(address).get_metric_history(run_id, "test/accuracy")

    assert [(m.step, m.timestamp) for m in history] == [(35, 3_000), (70, 4_000)]
    assert shown.info.status == "FINISHED"
    assert shown.data.tags["alo.strategy"] == "badge"
    assert (shown.data.params["p100"], shown.data.tags["t100"]) == ("100", "100")
    assert shown.data.metrics["m1000"] == 1000.0
    assert list((tmp_path / "elsewhere").iterdir()) == []
