"""A learner by itself: trained on all labels, asked about files, measured on other data."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets import load, pack
from al_orchestrator.errors import ConfigError, DatasetError, LedgerError
from al_orchestrator.experiment import on_all_labels
from al_orchestrator.predicting import evaluate, files_of, learner_of, predict_files
from al_orchestrator.run_dir import Workspace

pytestmark = pytest.mark.torch

SIMCLR = {"name": "simclr", "epochs": 1, "batch_size": 64, "projection": 8}
FIELDS: dict[str, Any] = {
    "dataset": {"name": "faces", "image_size": 16, "num_train": 120, "num_val": 30, "num_test": 40},
    "strategy": {"name": "margin"},
    "trainer": {
        "name": "fer_classifier",
        "encoder": {"name": "resnet10_narrow", "width": 4},
        "epochs": 3,
        "optimizer": {"name": "sgd", "lr": 0.05},
    },
    "budget": {"initial": 40, "batch_size": 20, "rounds": 2},
    "executor": "in_process",
    "tracking": {"name": "nothing"},
}
PROBE = {
    "name": "linear_probe",
    "encoder": {"name": "resnet10_narrow", "width": 4, "pretrain": SIMCLR},
}


def configured(name: str, **fields: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate({**FIELDS, "name": name, **fields})


def run_to_its_end(config: ExperimentConfig, root: Path) -> dict[str, float]:
    with Experiment.open(config, root=root) as experiment:
        return dict([*experiment.rounds()][-1].metrics)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a classifier and a probe on a pretrained encoder."""
    folder = tmp_path_factory.mktemp("runs")
    run_to_its_end(configured("classifier"), folder)
    run_to_its_end(configured("probe", trainer=PROBE), folder)
    return folder


@pytest.mark.parametrize("name", ["classifier", "probe"])
def test_measured_again_a_learner_is_what_its_run_said(root: Path, name: str) -> None:
    learner = learner_of(Workspace(root).run(name))
    assert learner.labelled == 60
    found = evaluate(learner, pack(learner.config.dataset, root))
    with Experiment.open(learner.config, root=root) as experiment:
        told = [*experiment.rounds()][-1].metrics
    assert found.images == 40
    assert found.metrics["accuracy"] == told["test/accuracy"]
    assert found.metrics["nll"] == pytest.approx(told["test/nll"], rel=1e-5)
    assert np.sum(found.confusion) == 40


def images_of(root: Path, folder: Path, rows: int = 12) -> list[Path]:
    """The first images of the packed dataset as PNG files."""
    [packed] = [load(path.parent) for path in (root / "datasets").glob("*/dataset.json")]
    folder.mkdir()
    files = []
    for row, pixels in enumerate(np.load(packed.images)[:rows]):
        Image.fromarray(pixels[..., 0]).save(folder / f"{row:02}.png")
        files.append(folder / f"{row:02}.png")
    return files


@pytest.mark.parametrize("name", ["classifier", "probe"])
def test_files_are_seen_as_the_dataset_was(root: Path, tmp_path: Path, name: str) -> None:
    learner = learner_of(Workspace(root).run(name))
    files = images_of(root, tmp_path / "faces")
    together = predict_files(learner, files_of([tmp_path / "faces", files[0]]))
    assert together.paths == tuple(files)
    one_by_one = [predict_files(learner, [file]).log_probs for file in files]
    np.testing.assert_allclose(together.log_probs, np.concatenate(one_by_one), atol=1e-5)
    np.testing.assert_allclose(np.exp(together.log_probs).sum(axis=1), 1, rtol=1e-5)


def test_bad_files_stop_or_are_left_out(root: Path, tmp_path: Path) -> None:
    learner = learner_of(Workspace(root).run("classifier"))
    files = images_of(root, tmp_path / "faces", rows=2)
    (tmp_path / "faces" / "cut.png").write_bytes(files[0].read_bytes()[:60])
    everything = files_of([tmp_path / "faces"])
    with pytest.raises(DatasetError, match=r"cut\.png: .*--skip-bad"):
        predict_files(learner, everything)
    found = predict_files(learner, everything, skip_bad=True)
    assert found.paths == tuple(files)
    assert list(found.skipped) == [str(tmp_path / "faces" / "cut.png")]
    with pytest.raises(DatasetError, match="none of 1 files"):
        predict_files(learner, [tmp_path / "faces" / "cut.png"], skip_bad=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no image"):
        files_of([tmp_path / "empty"])
    with pytest.raises(ConfigError, match="does not exist"):
        files_of([tmp_path / "nowhere.png"])


def test_the_command_line_writes_tables(root: Path, tmp_path: Path) -> None:
    images_of(root, tmp_path / "faces", rows=3)
    words = ["predict", "classifier", str(tmp_path / "faces"), "--root", str(root)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert len(shown.stdout.splitlines()) == 3
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    table = tmp_path / "seen.csv"
    assert CliRunner().invoke(app, [*words, "--out", str(table)]).exit_code == 0
    with table.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["label"] for row in rows] == [row["label"] for row in told]
    assert sum(told[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    refused = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "seen.txt")])
    assert isinstance(refused.exception, ConfigError)


def test_other_classes_or_sizes_are_refused(root: Path, tmp_path: Path) -> None:
    learner = learner_of(Workspace(root).run("classifier"))
    larger = configured("x", dataset={**FIELDS["dataset"], "image_size": 24}).dataset
    with pytest.raises(ConfigError, match=r"set dataset\.image_size"):
        evaluate(learner, pack(larger, tmp_path))
    digits = configured("x", dataset={"name": "digits"}).dataset
    with pytest.raises(ConfigError, match="the data have"):
        evaluate(learner, pack(digits, tmp_path))


def test_a_lost_checkpoint_or_encoder_is_an_error(tmp_path: Path) -> None:
    run_to_its_end(configured("probe", trainer=PROBE), tmp_path)
    run = Workspace(tmp_path).run("probe")
    [encoder] = tmp_path.glob("encoders/*/encoder.pt")
    encoder.rename(encoder.with_name("elsewhere"))
    with pytest.raises(LedgerError, match="which the learner stands on"):
        learner_of(run)
    encoder.with_name("elsewhere").rename(encoder)
    learner_of(run).checkpoint.write_bytes(b"")
    with pytest.raises(LedgerError, match="missing or changed"):
        learner_of(run)


def test_train_takes_every_label_of_the_pool_once(tmp_path: Path) -> None:
    config = configured("ceiling")
    chosen = on_all_labels(config, tmp_path)
    assert chosen.name == "ceiling-all"
    metrics = run_to_its_end(chosen, tmp_path)
    assert np.isfinite(metrics["test/accuracy"])
    learner = learner_of(Workspace(tmp_path).run("ceiling-all"))
    assert learner.labelled == 120
    assert chosen.validation.size == 30  # as large as the experiment has it
