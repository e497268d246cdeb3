"""Encoders learned from a folder of images without labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.config import ExperimentConfig, load_config
from al_orchestrator.datasets import load
from al_orchestrator.encoder_store import EncoderStore
from al_orchestrator.errors import ConfigError, DatasetError
from al_orchestrator.pretraining import pretrain
from al_orchestrator.sweeps import Plan, run_sweep
from al_orchestrator.sweeps.plan import Trial

pytestmark = pytest.mark.torch

FACES = {"name": "faces", "image_size": 16, "num_train": 60, "num_val": 10, "num_test": 20}
SIMCLR = {"name": "simclr", "epochs": 1, "batch_size": 16, "projection": 8}
ENCODER = {"name": "resnet10_narrow", "width": 4, "pretrain": SIMCLR}


def folder_of(root: Path, count: int = 24) -> Path:
    """Oblong pictures of several kinds and depths, some deeper down, none in a class."""
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).convert("RGB" if number % 2 else "L")
        path = root / ("deeper" if number % 3 else "") / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return root


def configured(name: str, folder: Path | None, **fields: object) -> ExperimentConfig:
    small: dict[str, Any] = {
        "name": name,
        "dataset": FACES,
        "strategy": {"name": "random"},
        "trainer": {"name": "linear_probe", "encoder": ENCODER},
        "budget": {"initial": 10, "batch_size": 5, "rounds": 2},
        "executor": "in_process",
        "tracking": {"name": "nothing"},
    }
    other = {} if folder is None else {"pretrain_on": {"path": folder}}
    return ExperimentConfig.model_validate({**small, **other, **fields})


def run(root: Path, config: ExperimentConfig) -> dict[str, Any]:
    """What is on record of the run's encoder; every round has started from it."""
    with Experiment.open(config, root=root) as experiment:
        rounds = list(experiment.rounds())
        pool = experiment._rooms.pool
        recorded = dict(pool.stage(0, "pretrain") or {})
        trained = [pool.stage(each.number, "train") or {} for each in rounds]
    assert {stage["encoder_digest"] for stage in trained} == {recorded["digest"]}
    return recorded


def test_an_experiment_finds_the_encoder_that_was_learned_from_the_folder(tmp_path: Path) -> None:
    config = configured("run", folder_of(tmp_path / "images"))

    stored, is_new = pretrain(config, tmp_path / "runs")
    assert is_new
    assert stored.images == 24
    recorded = run(tmp_path / "runs", config)
    assert (recorded["key"], recorded["images"]) == (stored.key, 24)
    assert pretrain(config, tmp_path / "runs")[1] is False

    of_the_pool = run(tmp_path / "runs", configured("pool", None))
    assert of_the_pool["key"] != stored.key
    assert len(EncoderStore(tmp_path / "runs" / "encoders").entries()) == 2


def test_a_run_learns_it_itself_where_nobody_has(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images")
    recorded = run(tmp_path / "a", configured("run", folder))
    stored, _ = pretrain(configured("other", folder), tmp_path / "b")

    assert recorded["digest"] == stored.digest


def test_where_the_folder_lies_does_not_matter_and_what_is_in_it_does(tmp_path: Path) -> None:
    first = pretrain(configured("run", folder_of(tmp_path / "here")), tmp_path / "runs")[0]
    there = folder_of(tmp_path / "there")
    assert pretrain(configured("run", there), tmp_path / "runs")[0].key == first.key

    (there / "000.png").unlink()
    assert pretrain(configured("run", there), tmp_path / "runs")[0].key != first.key


@pytest.mark.parametrize("policy", ["drop", "keep", "refuse"])
def test_images_of_the_test_set_are_not_learned_from(tmp_path: Path, policy: str) -> None:
    folder = folder_of(tmp_path / "images")
    clean = pretrain(configured("run", folder), tmp_path / "runs")[0]
    (packed,) = (
        data
        for path in (tmp_path / "runs" / "datasets").glob("*/dataset.json")
        if (data := load(path.parent)).manifest.classes
    )
    images = np.load(packed.images, mmap_mode="r")
    for row in np.flatnonzero(packed.manifest.splits == "test")[:5]:
        Image.fromarray(images[row, :, :, 0]).save(folder / f"test-{row}.png")

    other = {"path": folder, "duplicates": {"across_splits": policy}}
    config = configured("run", None, pretrain_on=other)
    if policy == "refuse":
        with pytest.raises(DatasetError, match=r"5 images of .* stand in val or test"):
            pretrain(config, tmp_path / "runs")
        return
    again = pretrain(config, tmp_path / "runs")[0]
    assert again.images == (24 if policy == "drop" else 29)
    assert (again.key == clean.key) is (policy == "drop")


def test_a_bad_image_is_named_before_a_run_is_created(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images")
    (folder / "notes.txt").write_text("not an image")

    with pytest.raises(DatasetError, match=r"notes\.txt: not an image"):
        Experiment.open(configured("run", folder), root=tmp_path / "runs")
    assert not (tmp_path / "runs" / "run").exists()
    config = configured("run", None, pretrain_on={"path": folder, "on_bad_image": "skip"})
    assert pretrain(config, tmp_path / "runs")[0].images == 24


@pytest.mark.parametrize(
    ("pretrain_with", "words"),
    [
        (None, "no encoder has a `pretrain`"),
        ({**SIMCLR, "name": "supcon"}, "supcon learns from labels of the pool"),
        ({**SIMCLR, "watch_every": 1}, "looks at the validation set"),
    ],
    ids=["none", "labels", "watched"],
)
def test_what_cannot_learn_from_it_is_refused(
    tmp_path: Path, pretrain_with: dict[str, object] | None, words: str
) -> None:
    trainer = {"name": "linear_probe", "encoder": {**ENCODER, "pretrain": pretrain_with}}

    with pytest.raises(ValidationError, match=words):
        configured("run", tmp_path, trainer=trainer)


def test_a_folder_without_labels_is_no_dataset(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images")
    dataset = {"name": "image_folder", "path": folder}

    with pytest.raises(DatasetError, match=r"no train split.*without labels are for `pretrain_on`"):
        Experiment.open(configured("run", None, dataset=dataset), root=tmp_path / "runs")
    config = configured("run", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        pretrain(config, tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no usable image"):
        pretrain(configured("run", tmp_path / "empty"), tmp_path / "runs")


def test_the_folder_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    preset = Path(__file__).parents[2] / "experiments" / "tiny" / "pretrain_simclr.yaml"
    folder = folder_of(tmp_path / "images")
    words = ["pretrain", str(preset), "--root", str(tmp_path / "runs"), "--json"]
    small = [
        "executor=in_process",
        "trainer.encoder.pretrain.epochs=1",
        "trainer.encoder.pretrain.batch_size=16",
        "dataset.num_train=60",
        "budget.initial=10",
        "budget.batch_size=5",
        "validation.size=20",
        f"pretrain_on.path={folder}",
    ]
    done = CliRunner().invoke(app, [*words, *(w for each in small for w in ("--set", each))])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["images"] == 24

    with pytest.raises(ConfigError, match="there is no 'flat_folder'"):
        load_config(preset, ["dataset.name=flat_folder"])


def test_once_the_encoder_is_made_the_folder_may_go(tmp_path: Path) -> None:
    folder, root = folder_of(tmp_path / "images"), tmp_path / "runs"
    kept = run(root, configured("run", folder))
    run(root, configured("twin", folder, seed=0, strategy={"name": "margin"}))
    shutil.rmtree(folder)

    page = tmp_path / "run.html"
    for words in (
        ["status", "run"],
        ["compare", "run", "twin"],
        ["report", "run", "--out", str(page)],
        ["resume", "run", "--set", "budget.rounds=3"],
    ):
        done = CliRunner().invoke(app, [*words, "--root", str(root)])
        assert done.exit_code == 0, done.output
    assert f"learned from {folder}" in page.read_text()

    longer = configured("run", folder, budget={"initial": 10, "batch_size": 5, "rounds": 4})
    assert run(root, longer) == kept  # all four rounds started from it
    with pytest.raises(DatasetError, match=r"pretrain_on: .*images is not a folder.* learned from"):
        Experiment.open(configured("new", folder), root=root)
    assert not (root / "new").exists()

    shutil.rmtree(root / "encoders" / kept["key"])
    with pytest.raises(DatasetError, match=r"pretrain_on: .*images is not a folder"):
        Experiment.open(longer, root=root)


def test_a_lost_encoder_is_made_again_from_the_folder_and_is_the_same(tmp_path: Path) -> None:
    config = configured("run", folder_of(tmp_path / "images"))
    kept = run(tmp_path / "runs", config)
    shutil.rmtree(tmp_path / "runs" / "encoders")

    more = {"initial": 10, "batch_size": 5, "rounds": 3}
    assert run(tmp_path / "runs", configured("run", tmp_path / "images", budget=more)) == kept


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_goes_on_without_the_folder(tmp_path: Path, ray_of: Callable[[int], None]) -> None:
    ray_of(1)
    folder, root = folder_of(tmp_path / "images"), tmp_path / "runs"
    config = configured("run", folder)
    run(root, config)
    shutil.rmtree(folder)

    longer = configured("run", folder, budget={"initial": 10, "batch_size": 5, "rounds": 3})
    plan = Plan("run", {}, (0,), (Trial({}, longer), Trial({}, configured("new", folder))))
    ended = run_sweep(plan, root, progress=lambda *_: None)
    states = {one.trial.name: (one.state, one.why) for one in ended}
    assert states["run"][0] == "finished"
    assert states["new"][0] == "failed"
    assert "images is not a folder" in states["new"][1]
