"""A sweep in MLflow: one run with the comparison, the sweep's runs below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps import Plan, load_plan, show_sweep
from al_orchestrator.tracking import MLflowTracking

pytestmark = [pytest.mark.mlflow, pytest.mark.torch]

BASE = """\
dataset: {name: digits}
strategy: {name: margin}
trainer: {name: linear_probe, encoder: {name: resnet10_narrow, width: 4}}
budget: {initial: 20, batch_size: 10, rounds: 2}
executor: in_process
tracking: {name: TRACKING}
"""


def planned(folder: Path, tracking: str) -> Plan:
    (folder / "base.yaml").write_text(BASE.replace("TRACKING", tracking), encoding="utf-8")
    path = folder / "two.yaml"
    path.write_text("base: base.yaml\naxes: {strategy: [random, margin]}\nseeds: 1\n", "utf-8")
    return load_plan(path)


def drive(plan: Plan, root: Path) -> None:
    for trial in plan.trials:
        with Experiment.open(trial.config, root) as experiment:
            assert len(list(experiment.rounds())) == 2


def test_runs_stand_below_the_sweep_and_showing_it_again_changes_nothing(with_mlflow: Path) -> None:
    plan, root = planned(with_mlflow, "mlflow"), with_mlflow
    drive(plan, root)
    folder = show_sweep(plan, root)
    assert folder == root / "compare/two"
    assert show_sweep(plan, root) == folder
    client = MlflowClient(MLflowTracking().place(Workspace(root).root).uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if run.data.tags.get("alo.kind") == "sweep"]
    children = [run for run in runs if run is not parent]
    assert {run.info.run_name for run in children} == {trial.name for trial in plan.trials}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.params["strategy"] == "random, margin"
    assert parent.info.status == "FINISHED"
    shown = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"comparison.html", "results.csv", "curves.csv", "curves.png"} <= shown


def test_without_a_mirror_the_folder_is_written_all_the_same(tmp_path: Path) -> None:
    plan, root = planned(tmp_path, "nothing"), tmp_path / "runs"
    assert show_sweep(plan, root) is None  # nothing has run
    drive(plan, root)
    folder = show_sweep(plan, root)
    assert folder is not None
    assert (folder / "comparison.html").stat().st_size > 1_000_000
    assert not (root / "mlflow.db").exists()


def test_a_sweep_of_one_seed_says_in_each_place_that_it_has_no_interval(tmp_path: Path) -> None:
    plan, root = planned(tmp_path, "nothing"), tmp_path / "runs"
    drive(plan, root)

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--root", str(root)])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    path = str(tmp_path / "two.yaml")
    assert "seeds: 0 (one alone: a comparison will have no interval)" in said(
        "sweep", path, "--dry-run"
    )
    assert "one seed, so no difference has an interval" in said("sweep", path)
    assert "one seed of every group: no interval" in said("compare", path, "--detect", "0.01")
    assert "one run a bar, so no interval" in said("bars", path, "--by", "strategy")
    assert "one seed, so no interval and no p value exist" in (
        root / "compare/two/comparison.html"
    ).read_text("utf-8")
