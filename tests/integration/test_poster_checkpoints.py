"""A checkpoint of POSTER by the command line: names, classes, normalisation, order of colours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from poster_files import in_published_layout
from typer.testing import CliRunner

from al_orchestrator.cli import app
from al_orchestrator.errors import ConfigError
from trainers.deep import checkpoints
from trainers.deep.networks import Network, Plan, build_network, save_learner
from trainers.deep.seeding import generator

pytestmark = pytest.mark.torch

ENCODER = {"name": "poster_v1_narrow", "width": 4}
MEANS, DEVIATIONS = "0.2,0.4,0.6", "0.1,0.2,0.3"  # in the order in which the network saw colours


@pytest.fixture
def network() -> Network:
    return build_network(Plan("poster_v1_narrow", 4, 3, 2, 0.0), generator(0, "init")).eval()


@pytest.fixture
def file(tmp_path: Path, network: Network) -> Path:
    """The network's file, as the published script writes it."""
    state = {in_published_layout(k): v for k, v in network.encoder.state_dict().items()}
    state |= {f"module.head.{name}": each for name, each in network.head.state_dict().items()}
    state["module.pyramid_fuse.cls_token"] = torch.zeros(1, 1, 32)
    content = {
        "iter": 216,
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 4e-5, "rho": 0.05}]},
    }
    torch.save(content, tmp_path / "epoch216_acc0.9205.pth")
    return tmp_path / "epoch216_acc0.9205.pth"


def colours() -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(0)
    return rng.integers(0, (255, 128, 64), (40, 32, 32, 3), dtype=np.uint8)


def data(folder: Path, images: np.ndarray[Any, Any]) -> str:
    """The YAML of an experiment on these images."""
    folder.mkdir()
    for split, rows in (("train", images[:20]), ("test", images[20:])):
        np.save(folder / f"x_{split}.npy", rows)
        np.save(folder / f"y_{split}.npy", np.arange(len(rows)) % 2)
    config = {
        "dataset": {"name": "arrays", "path": str(folder), "class_names": ["sad", "happy"]},
        "strategy": {"name": "margin"},
        "trainer": {"name": "fer_classifier", "encoder": ENCODER},
        "budget": {"initial": 4, "batch_size": 2, "rounds": 2},
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(folder / "data.yaml")


def measured(file: Path, data: str, *options: str) -> dict[str, float]:
    asked = ["evaluate", str(file), "--data", data, "--root", str(file.parent / "runs"), "--json"]
    normalised = ["--mean", MEANS, "--std", DEVIATIONS]
    done = CliRunner().invoke(app, [*asked, *normalised, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    metrics: dict[str, float] = json.loads(done.stdout)["metrics"]
    return metrics


def test_a_checkpoint_that_saw_bgr_is_measured_on_rgb(
    file: Path, network: Network, tmp_path: Path
) -> None:
    images = colours()
    pixels = torch.from_numpy(images[20:]).permute(0, 3, 1, 2) / 255
    mean, std = (
        torch.tensor([float(value) for value in text.split(",")]).view(-1, 1, 1)
        for text in (MEANS, DEVIATIONS)
    )
    with torch.no_grad():
        log_probs = network((pixels - mean) / std)[0].log_softmax(1)
    expected = -log_probs[torch.arange(20), torch.arange(20) % 2].mean().item()
    straight = data(tmp_path / "as seen", images)
    turned = data(tmp_path / "turned", images[..., ::-1])
    assert measured(file, straight)["nll"] == pytest.approx(expected, abs=1e-5)
    found = measured(file, turned, "--channel-order", "bgr")
    assert found["nll"] == pytest.approx(expected, abs=1e-5)
    assert measured(file, turned)["nll"] != pytest.approx(expected, abs=1e-4)


def test_a_checkpoint_of_ours_has_seen_rgb_whatever_its_parts_had(
    network: Network, tmp_path: Path
) -> None:
    ours = tmp_path / "checkpoint.pt"
    mode = {"precision": "float32", "channels_last": True, "threads": 1}
    save_learner(ours, network, {"mode": mode})
    straight = data(tmp_path / "as seen", colours())
    plain = measured(ours, straight)
    yaml_of_bgr = Path(straight).with_name("bgr.yaml")
    parts = {"ir_back": "ir50.pth", "face_landback": "mobilefacenet.pth"}
    config = yaml.safe_load(Path(straight).read_text(encoding="utf-8"))
    config["trainer"]["encoder"] |= {"parts": parts, "channel_order": "bgr"}
    yaml_of_bgr.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert measured(ours, str(yaml_of_bgr)) == plain
    asked = ["evaluate", str(ours), "--data", straight, "--channel-order", "bgr"]
    with pytest.raises(ConfigError, match="is a checkpoint of alo, which sees RGB"):
        CliRunner().invoke(app, [*asked, "--root", str(tmp_path)], catch_exceptions=False)


def test_classes_are_in_the_order_of_the_file(file: Path, tmp_path: Path) -> None:
    straight = data(tmp_path / "as seen", colours())
    own, other = measured(file, straight), measured(file, straight, "--classes", "happy,sad")
    assert other["nll"] != pytest.approx(own["nll"], abs=1e-4)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_its_encoder_is_imported_with_every_name_accounted_for(
    order: str, file: Path, network: Network, tmp_path: Path
) -> None:
    into = str(tmp_path / "encoder.pt")
    asked = ["encoders", "import", str(file), into, "--network", "poster_v1_narrow", "--width", "4"]
    done = CliRunner().invoke(app, [*asked, "--channel-order", order, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    own = network.encoder.state_dict()
    assert set(report["matched"]) == own.keys()
    assert report["missing"] == report["unexpected"] == report["mismatched"] == []
    assert report["ignored"] == [
        "module.head.linear.bias",
        "module.head.linear.weight",
        "module.pyramid_fuse.cls_token",
    ]
    content: Any = checkpoints.load(Path(into))["weights"]
    stems = {"ir_back.input_layer.0.weight", "face_landback.conv1.conv.weight"}
    for name, tensor in own.items():
        expected = tensor.flip(1) if order == "bgr" and name in stems else tensor
        assert torch.equal(content[f"encoder.{name}"], expected), name
