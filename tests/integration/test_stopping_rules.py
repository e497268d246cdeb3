"""A run that a rule ends: when, what it says of it, and how it goes on after all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.config import ExperimentConfig, load_config
from al_orchestrator.errors import ConfigError
from al_orchestrator.pool import Event, Pool
from al_orchestrator.reports.page import run_page
from al_orchestrator.reports.runs import status_of
from al_orchestrator.rounds import Round
from al_orchestrator.run_dir import RunDir
from al_orchestrator.stopping import StopSet, kappa

pytestmark = pytest.mark.torch

SMOKE = load_config(Path(__file__).parents[2] / "experiments/tiny/smoke.yaml")
M = "validation/accuracy"
NEVER = {"name": "target", "metric": M, "value": 2.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace, so that digits are packed and embedded once."""
    return tmp_path_factory.mktemp("workspace")


def smoke(name: str, *stop: dict[str, Any], rounds: int = 5, **fields: Any) -> ExperimentConfig:
    budget = {"initial": 20, "batch_size": 20, "rounds": rounds}
    given = {**SMOKE.model_dump(), "name": name, "stop": stop, "budget": budget, **fields}
    return ExperimentConfig.model_validate(given)


@contextmanager
def opened(root: Path, config: ExperimentConfig) -> Iterator[Experiment]:
    with Experiment.open(config, root=root) as experiment:
        yield experiment


def run(root: Path, config: ExperimentConfig) -> tuple[Round, ...]:
    with opened(root, config) as experiment:
        list(experiment.rounds())
    return status_of(RunDir(root / config.name)).rounds


def stopped(root: Path, name: str) -> str:
    return status_of(RunDir(root / name)).stopped


@pytest.fixture(scope="module")
def whole(root: Path) -> tuple[Round, ...]:
    """The same experiment with no rule."""
    rounds = run(root, smoke("whole"))
    assert len(rounds) == 5
    assert stopped(root, "whole") == "budget: 5 rounds"
    return rounds


def test_a_rule_cuts_a_run_short_and_changes_nothing_before(
    root: Path, whole: tuple[Round, ...]
) -> None:
    curve = [each.metrics[M] for each in whole]
    target = {"name": "target", "metric": M, "value": curve[2]}
    expected = next(n for n, value in enumerate(curve) if value >= curve[2])
    rounds = run(root, smoke("cut", NEVER, target))
    assert [(r.labelled, r.metrics) for r in rounds] == [
        (r.labelled, r.metrics) for r in whole[: expected + 1]
    ]
    assert stopped(root, "cut").startswith(f"target: {M} is ")
    # A second `alo run` leaves it at its end.
    assert run(root, smoke("cut", NEVER, target)) == rounds
    events = [each.kind for each in events_of(root, "cut")]
    assert events.count("finished") == 1


def events_of(root: Path, name: str) -> list[Event]:
    with Pool(root / name / "pool.db", read_only=True) as pool:
        return pool.events()


def test_without_its_rule_or_with_a_later_one_a_run_goes_on(
    root: Path, whole: tuple[Round, ...]
) -> None:
    cost = {"name": "cost", "limit": 160}  # 100 labels of the validation set among them
    assert [r.labelled for r in run(root, smoke("grows", cost))] == [20, 40, 60]
    assert stopped(root, "grows") == ("cost: 160 of 160 is spent on 160 labels")
    more = {"name": "cost", "limit": 185}
    assert [r.labelled for r in run(root, smoke("grows", more))] == [20, 40, 60, 80]
    assert stopped(root, "grows") == (
        "cost: 180 of 185 is spent on 180 labels, the next batch costs 20"
    )
    rounds = run(root, smoke("grows"))
    assert [r.metrics for r in rounds] == [r.metrics for r in whole]
    assert stopped(root, "grows") == "budget: 5 rounds"
    kinds = [each.kind for each in events_of(root, "grows")]
    assert (kinds.count("extended"), kinds.count("finished")) == (2, 3)


def test_a_larger_budget_does_not_overrule_a_rule_that_holds(root: Path) -> None:
    assert len(run(root, smoke("held", rounds=2))) == 2
    at_once = {"name": "target", "metric": M, "value": 0.0}
    assert len(run(root, smoke("held", at_once, rounds=4))) == 2
    assert stopped(root, "held").startswith("target: ")


def test_successive_models_are_compared_on_one_fixed_stop_set(root: Path) -> None:
    rule = {"name": "stabilized", "size": 200, "rounds": 2, "threshold": 0.5}
    with opened(root, smoke("stable", rule)) as experiment:
        rounds = list(experiment.rounds())
        pool = experiment._rooms.pool
        recorded = [pool.stage(r.number, "stop_set") or {} for r in rounds]
        models = [np.array(each["classes"]["pool:200"]) for each in recorded]
        rows = experiment._controller._ending._rows(StopSet("pool", 200))
    assert all(len(classes) == 200 for classes in models)
    assert len({*rows.tolist()}) == 200
    kappas = [kappa(a, b) for a, b in pairwise(models)]
    ends = [n for n in range(2, len(rounds)) if np.mean(kappas[n - 2 : n]) >= 0.5]
    assert ends == [len(rounds) - 1]  # it stopped the first time the rule held
    assert stopped(root, "stable").startswith("stabilized: models agree with a mean kappa of ")
    # Learners of digits are right often; what was predicted is about those very images.
    truth = experiment._rooms.data.manifest.labels[rows]
    assert np.mean(models[-1] == truth) > 0.5
    assert not [*RunDir(root / "stable").folder.rglob("log_probs.npy")]


def test_a_rule_added_later_is_told_what_earlier_models_predict(root: Path) -> None:
    strict = {"name": "stabilized", "size": 100, "rounds": 3, "threshold": 1.0}
    run(root, smoke("together", strict))
    run(root, smoke("later", rounds=4))
    run(root, smoke("later", strict, {**strict, "stop_set": "validation"}))
    found = []
    for name in ("together", "later"):
        with Pool(root / name / "pool.db", read_only=True) as pool:
            stages = [pool.stage(number, "stop_set") or {} for number in range(4)]
            found.append([each["classes"]["pool:100"] for each in stages])
    assert found[0] == found[1]


def test_a_metric_that_is_not_measured_stops_with_a_way_to_go_on(root: Path) -> None:
    wrong = {"name": "patience", "metric": "validation/acc"}
    with pytest.raises(
        ConfigError, match=r"which is not measured; there are .*validation/accuracy"
    ):
        run(root, smoke("wrong", wrong))
    assert len(run(root, smoke("wrong", {**wrong, "metric": M}, rounds=2))) == 2


def test_an_empty_validation_split_is_found_before_anything_is_made(tmp_path: Path) -> None:
    faces = {"name": "faces", "image_size": 16, "num_train": 60, "num_val": 0, "num_test": 20}
    config = smoke("empty", {"name": "patience"}, rounds=2, dataset=faces)
    with pytest.raises(ConfigError, match="the validation set, which is empty"):
        run(tmp_path / "runs", config)
    assert not (tmp_path / "runs").exists()


def test_status_report_and_json_say_why_it_stopped(root: Path, whole: tuple[Round, ...]) -> None:
    first = {"name": "all", "of": [{"name": "cost", "limit": 1}, {**NEVER, "value": 0.0}]}
    run(root, smoke("said", first))
    call = CliRunner().invoke
    shown = call(app, ["status", "said", "--root", str(root)]).output
    assert "stopped: all: cost: 120 of 1 is spent on 120 labels; target: " in " ".join(
        shown.split()
    )
    told = json.loads(call(app, ["status", "said", "--root", str(root), "--json"]).output)
    assert told["stopped"].startswith("all: cost: ")
    assert "all: cost: 120 of 1 is spent" in run_page(RunDir(root / "said"))
    plan = call(app, ["resume", "said", "--plan", "--root", str(root)]).output
    assert "fewer stopping rules" in plan
    without = ["--set", "stop=[]", "--set", "budget.rounds=2", "--quiet"]
    assert call(app, ["resume", "said", *without, "--root", str(root)]).exit_code == 0
    assert stopped(root, "said") == "budget: 2 rounds"


@pytest.mark.mlflow
def test_mlflow_is_told_why_and_that_it_goes_on(with_mlflow: Path) -> None:
    def tags() -> dict[str, str]:
        with sqlite3.connect(with_mlflow / "mlflow.db") as store:
            return dict(store.execute("SELECT key, value FROM tags").fetchall())

    mirror = {"tracking": {"name": "mlflow"}}
    run(with_mlflow, smoke("told", {**NEVER, "value": 0.0}, rounds=2, **mirror))
    assert tags()["alo.stopped"].startswith(f"target: {M} is ")
    run(with_mlflow, smoke("told", rounds=2, **mirror))
    assert tags()["alo.stopped"] == "budget: 2 rounds"
