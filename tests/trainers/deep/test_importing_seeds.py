"""Encoders out of the files that the public systems leave, in their own layouts, by name."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainers import Encoder, TrainingError
from trainers.deep.importing import ImportedEncoder, read_encoder_file
from trainers.deep.networks import Plan, shapes_of

pytestmark = pytest.mark.torch

NUMBERED = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def weights(encoder: Encoder) -> dict[str, Tensor]:
    """Every tensor of a network filled with a number of its own, in an order that tells nothing."""
    shapes = shapes_of(plan(encoder))
    values = {name: torch.full(shape, float(n)) for n, (name, shape) in enumerate(shapes.items())}
    return {name: values[name] for name in sorted(values, reverse=True)}


def plan(encoder: Encoder) -> Plan:
    return Plan(encoder.name, encoder.width or 0, 3, 2, 0.0)


def imported(path: Path, encoder: Encoder) -> ImportedEncoder:
    shapes = shapes_of(plan(encoder))
    return read_encoder_file(path, encoder, shapes.keys()).fitted_to(shapes, encoder)


def assert_all_of(found: ImportedEncoder, expected: dict[str, Tensor]) -> None:
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name], expected[name]) for name in expected)
    assert found.report is not None
    assert found.report.missing == found.report.unexpected == found.report.mismatched == ()


def simfle_name(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"online_network.encoder.{NUMBERED[first]}.{rest}"


def test_simfle_pretraining_gives_its_online_encoder_alone(tmp_path: Path) -> None:
    encoder = Encoder(name="resnet18")
    ours = weights(encoder)
    others = [
        *(f"target_network.encoder.{NUMBERED[n.split('.')[0]]}.x" for n in ("conv1.weight",)),
        "online_network.projection.net.0.weight",
        "facemae.semantic_masking.channel_grouping.convolution.0.weight",
        "facemae.autoencoder.cls_token",
        "predictor.net.0.weight",
        "distil_GFL.net.0.weight",
        "distil_FFL.net.0.weight",
    ]
    state = {simfle_name(name): tensor for name, tensor in ours.items()}
    state |= {name: torch.zeros(2) for name in others}
    file = tmp_path / "checkpoint_099.pth.tar"
    torch.save({"epoch": 100, "state_dict": state, "optimizer": {}}, file)
    found = imported(file, encoder)
    assert_all_of(found, ours)
    assert found.report is not None
    assert set(found.report.ignored) == set(others)


def test_a_resnet50_of_simfle_has_318_tensors() -> None:
    assert len(shapes_of(plan(Encoder(name="resnet50")))) == 318


@pytest.mark.parametrize("prefix", ["encoder.", "encoder.module."])
def test_activefer_gives_120_tensors_and_six_are_left_aside(tmp_path: Path, prefix: str) -> None:
    encoder = Encoder(name="resnet18_cifar", width=4)
    ours = weights(encoder)
    state = {prefix + name: tensor for name, tensor in ours.items()}
    aside = {prefix + "linear.weight", prefix + "linear.bias"}
    aside |= {f"head.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")}
    state |= {name: torch.zeros(2) for name in aside}
    options = argparse.Namespace(batch_size=1024)
    file = tmp_path / "last.pth"
    torch.save({"opt": options, "model": state, "optimizer": {}, "epoch": 1000}, file)
    found = imported(file, encoder)
    assert_all_of(found, ours)
    assert len(found.tensors) == 120
    assert found.report is not None
    assert set(found.report.ignored) == aside


def test_a_shortcut_called_downsample_is_the_same_part(tmp_path: Path) -> None:
    encoder = Encoder(name="resnet18_cifar", width=4)
    ours = weights(encoder)
    state = {"backbone." + name.replace("shortcut", "downsample"): t for name, t in ours.items()}
    assert any("downsample" in name for name in state)
    file = tmp_path / "lightly.ckpt"
    torch.save({"state_dict": state | {"backbone.fc.weight": torch.zeros(2)}}, file)
    assert_all_of(imported(file, encoder), ours)


def test_torchvisions_own_downsample_keeps_its_name(tmp_path: Path) -> None:
    encoder = Encoder(name="resnet18")
    ours = weights(encoder)
    file = tmp_path / "resnet18_msceleb.pth"
    state = {**ours, "fc.weight": torch.zeros(1000, 2), "fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, file)
    found = imported(file, encoder)
    assert_all_of(found, ours)
    assert len(found.tensors) == 120
    assert found.report is not None
    assert len(found.report.ignored) == 2


def test_half_a_simfle_file_is_refused(tmp_path: Path) -> None:
    encoder = Encoder(name="resnet18")
    state = {simfle_name(n): t for n, t in weights(encoder).items() if "layer4" not in n}
    file = tmp_path / "half.pth.tar"
    torch.save({"state_dict": state}, file)
    with pytest.raises(TrainingError, match="partly loaded resnet18 is refused"):
        imported(file, encoder)


def test_activefers_final_model_is_a_plain_pickle_of_its_learner(tmp_path: Path) -> None:
    encoder = Encoder(name="resnet18_cifar", width=4)
    ours = weights(encoder)
    head = {"linear.weight": torch.zeros(7, 32), "linear.bias": torch.zeros(7)}
    file = tmp_path / "final_model.pkl"
    file.write_bytes(pickle.dumps(OrderedDict({**ours, **head})))
    found = imported(file, encoder)
    assert_all_of(found, ours)
    assert found.report is not None
    assert set(found.report.ignored) == head.keys()
