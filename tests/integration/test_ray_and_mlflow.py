"""One experiment through the command line, on Ray and into MLflow: killed, resumed, compared."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from killing import EXPERIMENT, outcome

pytestmark = [
    pytest.mark.torch,
    pytest.mark.ray,
    pytest.mark.mlflow,
    pytest.mark.slow,
]

ON_RAY = ("executor=ray", "tracking.name=mlflow", "resources.cpus_per_worker=1")


def alo(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "al_orchestrator", *map(str, words)]


def run_words(config: Path, root: Path, *overrides: str) -> list[str]:
    settings = [part for override in overrides for part in ("--set", override)]
    return alo("run", config, "--root", root, *settings)


@dataclass(frozen=True)
class Scene:
    config: Path
    root: Path
    undisturbed: dict[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    config = folder / "small.yaml"
    config.write_text(EXPERIMENT)
    subprocess.run(run_words(config, folder / "alone"), check=True, capture_output=True)
    return Scene(config, folder / "runs", outcome(folder / "alone"))


def kill_when(
    words: list[str], said: str, victim: str, number: signal.Signals = signal.SIGKILL
) -> int:
    """Starts a command and signals it, or its Ray worker, as soon as it says something."""
    # A file, not a pipe: processes of a killed Ray may hold a pipe open for a minute.
    with tempfile.NamedTemporaryFile("r") as log, Path(log.name).open("w") as stderr:
        process = subprocess.Popen(words, stderr=stderr, stdout=subprocess.DEVNULL)
        while said not in log.read():
            log.seek(0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"it ended with {process.wait(0.02)}: {log.read()}")
        os.kill(process.pid if victim == "controller" else _worker_of(process.pid), number)
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
def resumed(scene: Scene) -> Path:
    """The workspace of a run whose controller was killed on Ray, and which went on."""
    words = run_words(scene.config, scene.root, *ON_RAY)
    assert kill_when(words, "round 0: queried", "controller") == -signal.SIGKILL
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return scene.root


def test_killed_and_resumed_on_ray_it_is_the_run_that_was_left_alone(
    scene: Scene, resumed: Path
) -> None:
    assert outcome(resumed) == scene.undisturbed


def test_the_mirror_compares_as_the_ledger_does(scene: Scene, resumed: Path) -> None:
    def rows(*words: str | Path) -> list[dict[str, Any]]:
        asked = alo("compare", *words, "--root", resumed, "--json")
        done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=120)
        [cell] = json.loads(done.stdout)["cells"]
        return [{key: row[key] for key in ("group", "final", "aulc")} for row in cell["rows"]]

    with sqlite3.connect(resumed / "mlflow.db") as store:
        names = [row[0] for row in store.execute("SELECT name FROM experiments")]
    [experiment] = [name for name in names if name != "Default"]
    assert rows("--mlflow", experiment) == rows("small")


def test_each_metric_stands_in_mlflow_once_with_labels_as_its_step(
    scene: Scene, resumed: Path
) -> None:
    with sqlite3.connect(resumed / "mlflow.db") as store:
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
    words = alo("status", "small", "--json", "--root", resumed)
    status = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert status["state"] == "finished"
    assert status["starts"] == 2
    assert [r["labelled"] for r in status["rounds"]] == [14, 21, 28]
    table = tmp_path / "labels.csv"
    subprocess.run(alo("labels", "export", "small", table, "--root", resumed), check=True)
    lines = table.read_text().splitlines()
    assert lines[0] == "round,rank,id,label,source,score"
    assert len(lines) == 1 + 28


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_asked_to_stop_on_ray_it_says_so_by_its_exit_code(
    scene: Scene, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = run_words(scene.config, tmp_path, *ON_RAY[::2], "tracking.name=nothing")
    assert kill_when(words, "round 0: trained", "controller", number) == code


def test_a_killed_worker_is_replaced_and_the_round_ends_the_same(scene: Scene) -> None:
    root = scene.root.parent / "worker"
    words = run_words(scene.config, root, *ON_RAY[::2], "tracking.name=nothing")
    assert kill_when(words, "round 0: queried", "worker") == 0
    assert outcome(root) == scene.undisturbed
