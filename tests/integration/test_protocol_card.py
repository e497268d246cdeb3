"""The protocol card of a run stands in MLflow as it stands on the run's page."""

from __future__ import annotations

import html
import importlib.metadata
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from al_orchestrator import Experiment
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.reports.card import card_of
from al_orchestrator.reports.page import run_page
from al_orchestrator.reports.runs import status_of
from al_orchestrator.run_dir import Workspace

pytestmark = [pytest.mark.torch, pytest.mark.mlflow]


def configured(rounds: int, **fields: Any) -> ExperimentConfig:
    small = {
        "name": "mine",
        "dataset": {"name": "faces", "image_size": 16, "num_train": 60, "num_test": 21},
        "strategy": {"name": "margin"},
        "trainer": {"name": "linear_probe", "encoder": {"name": "resnet10_narrow", "width": 4}},
        "budget": {"initial": 8, "batch_size": 4, "rounds": rounds},
        "executor": "in_process",
    }
    return ExperimentConfig.model_validate({**small, **fields})


def carried_out(root: Path, config: ExperimentConfig) -> dict[str, str]:
    """Drives the run to its end; returns the card that is in MLflow then."""
    with Experiment.open(config, root=root) as experiment:
        list(experiment.rounds())
    assert experiment.unsent == 0
    [shown] = (root / "mlartifacts").glob("**/protocol/card.md")
    title, empty, *lines = shown.read_text().splitlines()
    assert (title, empty) == ("# Protocol card of mine", "")
    told = (line.removeprefix("- **").partition("**: ") for line in lines)
    return {name: text for name, _, text in told}


def test_mlflow_shows_the_card_of_the_page_and_after_an_extension_the_new_one(
    with_mlflow: Path,
) -> None:
    first = carried_out(with_mlflow, configured(2))
    run = Workspace(with_mlflow).run("mine")
    assert first == card_of(Workspace(with_mlflow), [status_of(run)])
    assert first["labels asked for"] == "12"
    assert first["ended by"].startswith("budget")
    assert "not finished" not in first  # though its process still held the run

    assert first["ids of the seed set"] == f"digest {status_of(run).seed_set[:12]}"
    assert first["laws of strategies"] == "margin version 1, as in its reference"
    assert first["program"] == f"al-orchestrator {importlib.metadata.version('al-orchestrator')}"

    extended = carried_out(with_mlflow, configured(3))
    assert extended["labels asked for"] == "16"
    assert (first["started again"], extended["started again"]) == ("never", "once")
    assert first["training sees"] == "images as they are"
    page = html.unescape(run_page(run))
    for name, text in extended.items():
        assert f"<dt>{name}</dt><dd>{text}</dd>" in page


def test_a_mark_that_a_finished_run_gets_reaches_its_card(with_mlflow: Path) -> None:
    assert carried_out(with_mlflow, configured(2))["against the protocol"] == "nothing"

    rule = [{"name": "target", "metric": "test/accuracy", "value": 0.0}]
    marked = configured(2, stop=rule, protocol={"allow": ["test_selection"]})
    mark = "the test set had a say in when a run ends"
    assert carried_out(with_mlflow, marked)["against the protocol"] == mark


def test_a_run_that_is_shown_late_is_shown_whole(with_mlflow: Path) -> None:
    rule = [{"name": "target", "metric": "test/accuracy", "value": 1.1}]
    fields = {"stop": rule, "protocol": {"allow": ["test_selection"]}}
    with Experiment.open(configured(2, tracking={"name": "nothing"}, **fields), with_mlflow) as run:
        list(run.rounds())
    carried_out(with_mlflow, configured(3, **fields))
    with sqlite3.connect(with_mlflow / "mlflow.db") as store:
        steps = store.execute("SELECT step FROM metrics WHERE key = 'test/accuracy'").fetchall()
        params = dict(store.execute("SELECT key, value FROM params").fetchall())
        tags = dict(store.execute("SELECT key, value FROM tags").fetchall())
    assert sorted(steps) == [(8,), (12,), (16,)]
    assert params["strategy.name"] == "margin"
    assert tags["alo.marks"] == "the test set had a say in when a run ends"
    assert len([*(with_mlflow / "mlartifacts").glob("**/round-000/confusion.png")]) == 1


def test_the_card_says_what_a_fit_sees_and_what_was_merged(tmp_path: Path) -> None:
    encoder = {"name": "resnet10_narrow", "width": 4}
    trainer = {"name": "fer_classifier", "encoder": encoder, "epochs": 1, "noise": {"share": 0.5}}
    fields = {"trainer": trainer, "validation": {"merge": True}, "tracking": {"name": "nothing"}}
    with Experiment.open(configured(1, **fields), tmp_path) as run:
        list(run.rounds())
    card = card_of(Workspace(tmp_path), [status_of(run.run)])
    assert card["training sees"] == "pad_crop, noise (share 0.5, variance 30.0)"
    assert "the val split among it and no validation" in card["sets"]


def test_the_version_of_a_law_is_that_of_the_run_and_not_of_whoever_tells_it(
    tmp_path: Path,
) -> None:
    with Experiment.open(configured(2, tracking={"name": "nothing"}), root=tmp_path) as experiment:
        list(experiment.rounds())
    status = status_of(experiment.run)

    def told(*selected: dict[str, object]) -> str:
        return card_of(Workspace(tmp_path), [replace(status, selected=selected)])[
            "laws of strategies"
        ]

    assert told({"laws": {"margin": 1}}, {"laws": {"margin": 2}}) == (
        "margin version 1 and 2 (the program that writes this has version 1)"
    )
    assert told({"laws": {"gone": 1}}) == (
        "gone version 1 (the program that writes this has none of that name)"
    )
    assert told({"laws": {"random": 1}}, {"strategy": "random"}).endswith(
        "; not on record in 1 of 2 rounds"
    )
    assert "laws of strategies" not in card_of(
        Workspace(tmp_path), [replace(status, selected=({}, {}))]
    )
