"""The page of a run: whole, true to the ledger, and in need of nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pages import Page
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.errors import ConfigError
from al_orchestrator.reports.page import run_page
from al_orchestrator.run_dir import RunDir

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    config = ExperimentConfig.model_validate(
        {
            "name": "seen",
            "dataset": {"name": "faces", "image_size": 16, "num_train": 80, "num_test": 30},
            "strategy": {"name": "margin"},
            "trainer": {
                "name": "linear_probe",
                "encoder": {"name": "resnet10_narrow", "width": 4},
            },
            "budget": {"initial": 20, "batch_size": 10, "rounds": 3},
            "executor": "in_process",
            "tracking": {"name": "nothing"},
        }
    )
    with Experiment.open(config, root=tmp_path_factory.mktemp("runs")) as experiment:
        list(experiment.rounds())
        return experiment.run


def test_the_page_holds_everything_and_loads_nothing(run: RunDir) -> None:
    page = run_page(run)
    read = Page(page)
    assert read.open == []
    assert read.sources
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in read.sources)
    assert not re.search(r"(url\(|@import|<script|<link)", page.replace("url(#", "("))
    assert page.count("<svg") == 2
    for words in ("after round 0: 10 images", "after round 1: 10 images", "fingerprint"):
        assert words in page
    assert "after round 2" not in page  # the last round asks for nothing


def test_numbers_are_the_ledgers(run: RunDir) -> None:
    from al_orchestrator.reports.runs import status_of

    read = Page(run_page(run))
    for each in status_of(run).rounds:
        assert f"{each.metrics['test/accuracy']:.3f}" in read.text
    assert "20 by random" in read.text
    assert "10 a round" in read.text
    assert "margin" in read.text


def test_the_printed_calibration_error_is_the_metric(run: RunDir) -> None:
    from al_orchestrator.reports.runs import status_of

    last = status_of(run).rounds[-1]
    assert f"Expected calibration error {last.metrics['test/ece']:.4f}:" in run_page(run)
    for number in range(3):
        told = json.loads((run.report(number) / "round.json").read_text())
        assert told["reliability"]["ece"] == told["metrics"]["test/ece"]
        assert sum(each["images"] for each in told["reliability"]["bins"]) == 30


def test_the_surest_errors_are_on_the_page_and_in_the_last_report(run: RunDir) -> None:
    page = run_page(run)
    report = run.report(2)
    lines = (report / "confident_errors.csv").read_text().splitlines()
    told = json.loads((report / "round.json").read_text())
    wrong = 30 - int(np.trace(told["train"]["confusion"]))
    assert 0 < len(lines) - 1 == min(wrong, 36)
    for line in lines[1:]:
        id_, label, predicted, confidence = line.split(",")
        cells = (id_, label, predicted, f"{float(confidence):.4f}")
        assert "".join(f"<td>{cell}</td>" for cell in cells) in page
    assert (report / "confident_errors.png").exists()
    assert (report / "recall.png").exists()
    assert not (run.report(1) / "recall.png").exists()  # it is of all rounds, so of the last


def test_without_predictions_of_the_test_set_the_page_goes_without_them(run: RunDir) -> None:
    [path] = (run.folder / "round-002").glob("*/test_predictions.npz")
    path.rename(path.with_suffix(".away"))
    page = run_page(run)
    path.with_suffix(".away").rename(path)
    assert "Expected calibration error" not in page
    assert "Confusion after the last round" in page


def test_reports_that_were_removed_are_rendered_again(run: RunDir) -> None:
    whole = run_page(run)
    run.remove_report(1)
    assert run_page(run) == whole


def test_a_command_writes_it(run: RunDir, tmp_path: Path) -> None:
    words = ["report", str(run.folder), "--out", str(tmp_path / "page.html")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_run_without_a_measured_round_has_no_page(run: RunDir, tmp_path: Path) -> None:
    config = ExperimentConfig.model_validate(
        {
            "name": "waiting",
            "dataset": {"name": "faces", "image_size": 16, "num_train": 40, "num_test": 14},
            "strategy": {"name": "random"},
            "oracle": {"name": "people"},
            "trainer": {"name": "linear_probe", "encoder": {"name": "resnet10_narrow", "width": 4}},
            "budget": {"initial": 7, "batch_size": 7, "rounds": 2},
            "executor": "in_process",
            "tracking": {"name": "nothing"},
        }
    )
    with Experiment.open(config, root=tmp_path) as experiment:
        list(experiment.rounds())
    with pytest.raises(ConfigError, match="no measured round"):
        run_page(experiment.run)
