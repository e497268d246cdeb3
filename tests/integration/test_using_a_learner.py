"""A learner by itself: trained on all labels, asked about files, measured on other data."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.checking import on_all_labels
from al_orchestrator.cli import app
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets import load, pack
from al_orchestrator.errors import ConfigError, DatasetError, LedgerError
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


def packed_images(root: Path) -> Path:
    [packed] = [load(path.parent) for path in (root / "datasets").glob("*/dataset.json")]
    return packed.images


def images_of(root: Path, folder: Path, rows: int = 12) -> list[Path]:
    """The first images of the packed dataset as PNG files."""
    folder.mkdir()
    files = []
    for row, pixels in enumerate(np.load(packed_images(root))[:rows]):
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


NOISE = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)


def stored_as(grey: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, bytes]:
    """The same grey picture (H, W), stored as files of many kinds."""
    plain = Image.fromarray(grey)
    palette = plain.convert("P")
    palette.putpalette([level for each in range(256) for level in (each, each, each)])
    clear = plain.convert("LA")
    clear.putalpha(255)
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "grey.png": (plain, "PNG", {}),
        "colour.png": (plain.convert("RGB"), "PNG", {}),
        "alpha.png": (plain.convert("RGBA"), "PNG", {}),
        "grey_alpha.png": (clear, "PNG", {}),
        "palette.png": (palette, "PNG", {}),
        "wide.png": (Image.fromarray(grey.astype(np.uint16) * 257), "PNG", {}),
        "cmyk.tif": (plain.convert("RGB").convert("CMYK"), "TIFF", {}),
        "turned.png": (plain.transpose(Image.Transpose.ROTATE_90), "PNG", {"exif": turned}),
        "lossless.webp": (plain.convert("RGB"), "WEBP", {"lossless": True}),
        "really_a_png.jpg": (plain, "PNG", {}),
    }
    files = {}
    for name, (image, kind, options) in kinds.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    return files


def test_a_picture_is_seen_alike_however_it_is_stored(root: Path, tmp_path: Path) -> None:
    learner = learner_of(Workspace(root).run("classifier"))
    for name, encoded in stored_as(NOISE).items():
        (tmp_path / name).write_bytes(encoded)
    found = predict_files(learner, files_of([tmp_path]))
    by_name = {path.name: row for path, row in zip(found.paths, found.log_probs, strict=True)}
    assert len(by_name) == 10
    for name, row in by_name.items():
        np.testing.assert_allclose(row, by_name["grey.png"], atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "not an image"),
        (stored_as(NOISE)["grey.png"][:200], "truncated"),
    ],
    ids=["empty", "html", "cut"],
)
def test_a_bad_file_is_named_with_the_reason(
    root: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    learner = learner_of(Workspace(root).run("classifier"))
    (tmp_path / "face.png").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"face\.png: {reason}.*--skip-bad"):
        predict_files(learner, [tmp_path / "face.png"])


def test_what_file_managers_leave_behind_is_not_predicted(tmp_path: Path) -> None:
    for name in ("a.png", "._a.png", ".hidden/b.png", "deep/c.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files_of([tmp_path]) == [tmp_path / "a.png", tmp_path / "deep" / "c.PNG"]


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


@pytest.mark.parametrize("name", ["classifier", "probe"])
def test_files_are_explained_one_picture_each(root: Path, tmp_path: Path, name: str) -> None:
    images_of(root, tmp_path / "faces", rows=2)
    (tmp_path / "faces" / "cut.png").write_bytes(b"no image")
    words = ["saliency", name, str(tmp_path / "faces"), "--method", "gradcam", "--skip-bad"]
    words += ["--out", str(tmp_path / "seen"), "--root", str(root), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [each["picture"] for each in told["images"]] == ["001-00.png", "002-01.png"]
    learner = learner_of(Workspace(root).run(name))
    expected = predict_files(learner, [tmp_path / "faces" / "00.png"]).log_probs[0]
    assert told["images"][0]["predicted"] == learner.classes[expected.argmax()]
    assert told["images"][0]["probability"] == pytest.approx(np.exp(expected.max()), abs=1e-5)
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {
        "001-00.png",
        "002-01.png",
        "saliency.npz",
    }
    with np.load(told["arrays"]) as arrays:
        assert arrays["maps"].shape == arrays["scaled"].shape == (2, 16, 16)
        assert (arrays["images"][0] == np.load(packed_images(root))[0]).all()


def test_a_sample_is_explained_one_picture_a_class(root: Path, tmp_path: Path) -> None:
    words = ["saliency", "classifier", "--each", "2", "--out", str(tmp_path), "--root", str(root)]
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    learner = learner_of(Workspace(root).run("classifier"))
    labels = [each["label"] for each in told["images"]]
    assert labels == [name for name in learner.classes for _ in range(2)]
    assert {path.stem for path in tmp_path.glob("*.png")} == set(learner.classes)
    manifest = learner.manifest
    split = {
        str(i): (s, manifest.classes[c])
        for i, s, c in zip(manifest.ids, manifest.splits, manifest.labels, strict=True)
    }
    for each in told["images"]:
        assert split[each["name"]] == ("test", each["label"])
    again = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert again == told


def test_maps_of_a_sample_can_share_one_scale(root: Path, tmp_path: Path) -> None:
    maps, scaled = {}, {}
    for scale in ("image", "row", "all"):
        words = ["saliency", "classifier", "--each", "2", "--scale", scale, "--json"]
        words += ["--out", str(tmp_path / scale), "--root", str(root)]
        told = json.loads(CliRunner().invoke(app, words).stdout)
        assert told["scale"] == scale
        with np.load(told["arrays"]) as arrays:
            assert str(arrays["scale"]) == scale
            maps[scale], scaled[scale] = arrays["maps"], arrays["scaled"]
    assert (maps["image"] == maps["row"]).all()
    assert (maps["image"] == maps["all"]).all()
    lows, highs = maps["all"].min(), maps["all"].max()
    np.testing.assert_allclose(scaled["all"], (maps["all"] - lows) / (highs - lows), atol=1e-6)
    assert (scaled["all"].max(axis=(1, 2)) == 1).sum() == 1  # of all images, one is the strongest
    assert (scaled["image"].max(axis=(1, 2)) == 1).all()
    assert (scaled["row"].max(axis=2) == 1).all()
    [name] = {path.name for path in (tmp_path / "all").glob("*.png")} & {"happy.png"}
    sheets = {scale: (tmp_path / scale / name).read_bytes() for scale in scaled}
    assert len(set(sheets.values())) == 3


def test_an_ensemble_is_not_explained(root: Path, tmp_path: Path) -> None:
    several = {"name": "ensemble", "members": 2, "member": {**FIELDS["trainer"], "epochs": 1}}
    run_to_its_end(
        configured("several", trainer=several, budget={**FIELDS["budget"], "rounds": 1}), tmp_path
    )
    words = ["saliency", "several", "--out", str(tmp_path / "out"), "--root", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ConfigError)
    assert "an ensemble is several" in str(result.exception)
    assert not (tmp_path / "out").exists()


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


def test_somebodys_checkpoint_is_measured_as_its_own_run_is(root: Path, tmp_path: Path) -> None:
    run = learner_of(Workspace(root).run("classifier"))
    weights = torch.load(run.checkpoint, weights_only=True)["weights"]
    theirs = {
        f"module.{name.removeprefix('encoder.').replace('head.linear', 'fc')}": tensor
        for name, tensor in weights.items()
    }
    file = tmp_path / "best_valid_acc.pth"
    torch.save({"epoch": 1, "model_state_dict": theirs}, file)
    data = tmp_path / "theirs.yaml"
    data.write_text(yaml.safe_dump(FIELDS), encoding="utf-8")
    classes = ",".join(run.classes)
    asked = ["evaluate", str(file), "--data", str(data), "--root", str(root), "--json"]
    found, own = (
        json.loads(CliRunner().invoke(app, each).stdout)
        for each in ([*asked, "--classes", classes], ["evaluate", "classifier", *asked[4:]])
    )
    assert found["metrics"] == pytest.approx(own["metrics"], abs=1e-6)
    assert found["confusion"] == own["confusion"]
    turned = ",".join([*run.classes[1:], run.classes[0]])
    other = json.loads(CliRunner().invoke(app, [*asked, "--classes", turned]).stdout)
    assert other["metrics"]["accuracy"] != own["metrics"]["accuracy"]  # their order is the file's
    shifted = [*asked, "--classes", classes, "--mean", "0.0", "--std", "0.1"]
    assert json.loads(CliRunner().invoke(app, shifted).stdout)["metrics"] != own["metrics"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say what network it is"),
        (["--data", "DATA", "--classes", "happy,sad"], "the classes named are happy, sad"),
        (["--data", "DATA", "--mean", "0.5"], "go together"),
        (["--data", "DATA", "--mean", "0.5,0.5", "--std", "0.1,0.1"], "one of each channel"),
        (["--data", "DATA", "--mean", "grey", "--std", "0.1"], "are numbers"),
    ],
)
def test_a_checkpoint_needs_to_be_told_what_it_does_not_say(
    root: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "x.pth").write_bytes(b"")
    data = tmp_path / "theirs.yaml"
    data.write_text(yaml.safe_dump(FIELDS), encoding="utf-8")
    asked = ["evaluate", str(tmp_path / "x.pth"), "--root", str(root)]
    options = [str(data) if option == "DATA" else option for option in options]
    result = CliRunner().invoke(app, [*asked, *options])
    assert message in str(result.exception)


@pytest.mark.mlflow
def test_a_sample_that_was_explained_stands_on_the_runs_page(with_mlflow: Path) -> None:
    tracking = {"name": "mlflow"}
    config = configured("shown", tracking=tracking, budget={**FIELDS["budget"], "rounds": 1})
    run_to_its_end(config, with_mlflow)
    out = with_mlflow / "maps"
    asked = ["saliency", "shown", "--root", with_mlflow, "--each", "1", "--out", out]
    for _ in range(2):
        result = CliRunner().invoke(app, list(map(str, asked)))
        assert result.exit_code == 0, result.output
    [shown] = [path for path in (with_mlflow / "mlartifacts").rglob("gradient") if path.is_dir()]
    assert shown.parent.name == "saliency"
    assert {p.name for p in shown.iterdir()} == {p.name for p in out.iterdir()}
