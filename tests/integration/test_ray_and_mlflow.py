"""One experiment through the command line, on Ray and into MLflow: struck, resumed, compared."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from killing import EXPERIMENT, outcome
from typer.testing import CliRunner

from al_orchestrator.cli import app

pytestmark = [
    pytest.mark.torch,
    pytest.mark.ray,
    pytest.mark.mlflow,
    pytest.mark.slow,
]

ON_RAY = ("executor=ray", "tracking.name=mlflow", "resources.cpus_per_worker=1")


def run_words(config: Path, root: Path, *overrides: str) -> list[str]:
    settings = [part for override in overrides for part in ("--set", override)]
    return ["run", str(config), "--root", str(root), *settings]


def said_by(*words: str | Path) -> str:
    """What a command prints, run in this process."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@dataclass(frozen=True)
class Scene:
    config: Path
    undisturbed: dict[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    config = folder / "small.yaml"
    config.write_text(EXPERIMENT)
    said_by(*run_words(config, folder / "alone"))
    return Scene(config, outcome(folder / "alone"))


@dataclass(frozen=True)
class Blow:
    """A signal for the command, or for its Ray worker, as soon as the command says something."""

    said: str
    number: signal.Signals
    victim: Literal["controller", "worker"] = "controller"


def struck(words: list[str], *blows: Blow) -> int:
    """Runs a command in a process of its own, strikes it, and returns its exit code."""
    command = [sys.executable, "-m", "al_orchestrator", *words]
    # A file, not a pipe: processes of a killed Ray may hold a pipe open for a minute.
    with tempfile.NamedTemporaryFile("r") as log, Path(log.name).open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL)
        for blow in blows:
            while blow.said not in log.read():
                log.seek(0)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    raise AssertionError(f"it ended with {process.wait(0.02)}: {log.read()}")
            log.seek(0)
            of_ray = blow.victim == "worker"
            os.kill(_worker_of(process.pid) if of_ray else process.pid, blow.number)
        return process.wait(180)


def _worker_of(controller: int) -> int:
    """The warm actor of this controller: a child of the raylet that is its child."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, fields = (folder / "stat").read_text().rpartition(")")
            title = (folder / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:  # gone meanwhile
            continue
        parents[int(folder.name)] = (int(fields.split()[1]), title)
    for pid, (parent, title) in parents.items():
        is_ours = parents.get(parent, (0, ""))[0] == controller
        if is_ours and title.startswith("ray::Worker"):
            return pid
    raise AssertionError(f"no Ray worker of {controller} among {sorted(parents.values())}")


@pytest.fixture(scope="module")
def resumed(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory, ray_of: Callable[[int], None]
) -> Path:
    """The workspace of a run on Ray that lost a worker, was killed and twice stopped, and ended."""
    root = tmp_path_factory.mktemp("resumed")
    words = run_words(scene.config, root, *ON_RAY)
    lost = Blow("round 0: queried", signal.SIGKILL, "worker")  # it goes on with another
    killed = Blow("round 1: trained", signal.SIGKILL)
    assert struck(words, lost, killed) == -signal.SIGKILL
    # From here on another Ray, which is there already.
    ray_of(1)
    import ray

    words += ["--set", f"ray.address={ray.get_runtime_context().gcs_address}"]
    assert struck(words, Blow("round 1: queried", signal.SIGTERM)) == 75
    assert struck(words, Blow("Ray cluster at", signal.SIGINT)) == 130
    assert struck(words) == 0
    return root


def test_struck_on_ray_again_and_again_it_is_the_run_that_was_left_alone(
    scene: Scene, resumed: Path
) -> None:
    assert outcome(resumed) == scene.undisturbed


def test_the_mirror_compares_as_the_ledger_does(resumed: Path) -> None:
    def rows(*words: str) -> list[dict[str, Any]]:
        [cell] = json.loads(said_by("compare", *words, "--root", resumed, "--json"))["cells"]
        return [{key: row[key] for key in ("group", "final", "aulc")} for row in cell["rows"]]

    with closing(sqlite3.connect(resumed / "mlflow.db")) as store:
        names = [row[0] for row in store.execute("SELECT name FROM experiments")]
    [experiment] = [name for name in names if name != "Default"]
    assert rows("--mlflow", experiment) == rows("small")


def test_each_metric_stands_in_mlflow_once_with_labels_as_its_step(
    scene: Scene, resumed: Path
) -> None:
    with closing(sqlite3.connect(resumed / "mlflow.db")) as store:
        runs = store.execute("SELECT run_uuid, status FROM runs").fetchall()
        metrics = store.execute("SELECT key, step, value FROM metrics").fetchall()
    assert [status for _, status in runs] == ["FINISHED"]
    repeated = [
        pair for pair, n in Counter((key, step) for key, step, _ in metrics).items() if n > 1
    ]
    assert repeated == []
    accuracy = {step: value for key, step, value in metrics if key == "test/accuracy"}
    recorded = {
        labels: scene.undisturbed["stages"][(number, "train")]["metrics"]["test/accuracy"]
        for number, labels in enumerate((14, 21, 28))
    }
    assert accuracy == recorded


def test_the_artifacts_of_every_round_are_in_mlflow(resumed: Path) -> None:
    (artifacts,) = (resumed / "mlartifacts").glob("**/round-000")
    names = {path.name for path in artifacts.iterdir()}
    assert names == {
        "seed_set.parquet",
        "selected.parquet",
        "batch_classes.json",
        "batch_classes.png",
        "contact_sheet.png",
        "confusion.png",
        "reliability.png",
        "round.json",
    }
    (last,) = (resumed / "mlartifacts").glob("**/round-002")
    of_the_end = {"confident_errors.csv", "confident_errors.png", "recall.png"}
    assert of_the_end <= {path.name for path in last.iterdir()}
    assert not names & of_the_end


def test_status_and_labels_tell_what_the_ledger_holds(resumed: Path, tmp_path: Path) -> None:
    status = json.loads(said_by("status", "small", "--json", "--root", resumed))
    assert status["state"] == "finished"
    assert status["starts"] == 4
    assert [r["labelled"] for r in status["rounds"]] == [14, 21, 28]
    table = tmp_path / "labels.csv"
    said_by("labels", "export", "small", table, "--root", resumed)
    lines = table.read_text().splitlines()
    assert lines[0] == "round,rank,id,label,source,score"
    assert len(lines) == 1 + 28
