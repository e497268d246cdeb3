"""Saliency sheets that a run makes of its own rounds, if it is asked to."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cleaning import clean_workspace
from al_orchestrator.cli import app
from al_orchestrator.config import ExperimentConfig, identity_digest
from al_orchestrator.datasets import load
from al_orchestrator.errors import ConfigError
from al_orchestrator.pool import Pool
from al_orchestrator.round_report import render_round
from al_orchestrator.run_dir import RunDir, Workspace

pytestmark = pytest.mark.torch

TRAINER: dict[str, Any] = {
    "name": "fer_classifier",
    "encoder": {"name": "resnet10_narrow", "width": 4},
    "epochs": 1,
}
FIELDS: dict[str, Any] = {
    "dataset": {"name": "faces", "image_size": 16, "num_train": 60, "num_val": 20, "num_test": 30},
    "strategy": {"name": "random"},
    "trainer": TRAINER,
    "budget": {"initial": 20, "batch_size": 10, "rounds": 2},
    "validation": {"size": 0},
    "executor": "in_process",
    "tracking": {"name": "nothing"},
}


def configured(name: str, saliency: dict[str, Any] | None, **fields: Any) -> ExperimentConfig:
    reports = {} if saliency is None else {"reports": {"saliency": saliency}}
    return ExperimentConfig.model_validate({**FIELDS, "name": name, **reports, **fields})


def run_to_its_end(config: ExperimentConfig, root: Path) -> RunDir:
    with Experiment.open(config, root=root) as experiment:
        list(experiment.rounds())
    return Workspace(root).run(config.name)


def rendered(run: RunDir, number: int) -> dict[str, bytes]:
    """The sheets of a round, drawn anew from what its ledger and its folder have."""
    shutil.rmtree(run.report(number), ignore_errors=True)
    with Pool(run.ledger, read_only=True) as pool:
        provenance = pool.provenance()
        assert provenance is not None
        data = load(run.folder.parent / "datasets" / provenance.dataset)
        render_round(run, pool, data, number)
    return {p.name: p.read_bytes() for p in (run.report(number) / "saliency").glob("*.png")}


def attempts(run: RunDir) -> list[tuple[int, list[int]]]:
    with Pool(run.ledger, read_only=True) as pool:
        return [(each.number, pool.attempts(each.number, "explain")) for each in pool.rounds()]


def test_nothing_is_explained_unless_it_is_asked_for(tmp_path: Path) -> None:
    run = run_to_its_end(configured("plain", None), tmp_path)
    assert attempts(run) == [(0, []), (1, [])]
    assert rendered(run, 1) == {}
    assert not list(run.folder.rglob("explain.*"))


@pytest.mark.parametrize("scale", ["image", "all"])
def test_the_last_round_has_the_sheets_that_the_command_draws(tmp_path: Path, scale: str) -> None:
    config = configured("last", {"method": "gradcam", "scale": scale, "each": 2})
    run = run_to_its_end(config, tmp_path)
    assert attempts(run) == [(0, []), (1, [1])]
    assert rendered(run, 0) == {}
    sheets = rendered(run, 1)
    words = ["saliency", "last", "--method", "gradcam", "--scale", scale, "--each", "2"]
    words += ["--root", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert len(sheets) == 7
    assert sheets == {p.name: p.read_bytes() for p in (tmp_path / "out").glob("*.png")}
    # They can be drawn again however much is tidied up, and not of maps that changed.
    clean_workspace(Workspace(tmp_path))
    assert rendered(run, 1) == sheets
    [maps] = run.folder.rglob("saliency.npy")
    np.save(maps, np.zeros_like(np.load(maps)))
    assert rendered(run, 1) == {}


def test_each_round_shows_the_same_images_of_its_own_learner(tmp_path: Path) -> None:
    run = run_to_its_end(configured("each", {"rounds": "each", "each": 1}), tmp_path)
    assert attempts(run) == [(0, [1]), (1, [1])]
    with Pool(run.ledger, read_only=True) as pool:
        first, second = (pool.stage(number, "explain") or {} for number in (0, 1))
    assert first["ids"] == second["ids"]
    assert first["maps_file"] != second["maps_file"]
    assert rendered(run, 0).keys() == rendered(run, 1).keys()


def test_another_way_of_drawing_is_no_other_experiment(tmp_path: Path) -> None:
    plain, drawn = configured("run", None), configured("run", {"scale": "row"})
    assert identity_digest(plain) == identity_digest(drawn)
    with Experiment.open(plain, root=tmp_path) as experiment:
        next(experiment.rounds())
    run = run_to_its_end(drawn, tmp_path)
    assert attempts(run) == [(0, []), (1, [1])]
    # A last round that goes on is explained again only where something else is asked for.
    longer = {**FIELDS["budget"], "rounds": 3}
    run = run_to_its_end(configured("run", {"scale": "row"}, budget=longer), tmp_path)
    assert attempts(run) == [(0, []), (1, [1]), (2, [1])]


def test_a_run_goes_on_where_its_maps_cannot_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = {"name": "poster_v1_narrow", "width": 8}
    dataset = {**FIELDS["dataset"], "image_size": 32}
    trainer = {**TRAINER, "encoder": encoder}
    config = configured("blind", {"method": "gradcam"}, dataset=dataset, trainer=trainer)
    with caplog.at_level(logging.WARNING):
        run = run_to_its_end(config, tmp_path)
    assert "round 1 has no saliency maps" in caplog.text
    assert "poster_v1_narrow has no last map" in caplog.text
    with Pool(run.ledger, read_only=True) as pool:
        assert pool.rounds()[-1].metrics
        assert pool.stage(1, "explain") is None
    assert rendered(run, 1) == {}


def test_what_can_show_nothing_is_refused_before_a_run_is_created(tmp_path: Path) -> None:
    several = {"name": "ensemble", "members": 2, "member": TRAINER}
    no_val = {**FIELDS["dataset"], "num_val": 0}
    refused: list[tuple[ExperimentConfig, str]] = [
        (configured("run", {}, trainer=several), "reports.saliency: .* an ensemble is several"),
        (configured("run", {"split": "val"}, dataset=no_val), "the val split has no labelled"),
        (configured("run", {"split": "val"}, validation={"merge": True}), "merged into the pool"),
    ]
    for config, words in refused:
        with pytest.raises(ConfigError, match=words):
            Experiment.open(config, root=tmp_path)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValidationError, match="split"):
        configured("run", {"split": "train"})  # labels that are not bought yet


@pytest.mark.mlflow
def test_sheets_stand_among_the_artifacts_of_their_round(with_mlflow: Path) -> None:
    run_to_its_end(configured("shown", {"each": 1}, tracking={"name": "mlflow"}), with_mlflow)
    [shown] = [path for path in (with_mlflow / "mlartifacts").rglob("saliency") if path.is_dir()]
    assert shown.parent.name == "round-001"
    assert len(list(shown.glob("*.png"))) == 7
