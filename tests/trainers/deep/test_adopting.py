"""Whole learners out of seeds' checkpoints: the same scores as the network that was saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import FERClassifier, TrainingError
from trainers.deep.networks import (
    Network,
    build_network,
    load_learner,
    plan_network,
    with_centers,
    with_views,
)
from trainers.deep.seeding import generator

pytestmark = pytest.mark.torch

NARROW = {"name": "resnet10_narrow", "width": 4}
SHAPE = (48, 48, 1)
TRAINERS: dict[str, dict[str, Any]] = {
    "dacl": {"encoder": NARROW, "center_loss": {"kind": "attentive", "hidden": [12, 8, 6]}},
    "softmax": {"encoder": NARROW},
    "vgg": {"encoder": {"name": "vgg_fer", "width": 2}, "crops": {"size": 40}},
    "poster": {"encoder": {"name": "poster_v2_narrow", "width": 8}},
    "poster_v1": {"encoder": {"name": "poster_v1_narrow", "width": 4}},
    "poster_v1_affect": {"encoder": {"name": "poster_v1_narrow_affect", "width": 4}},
}


def trainer_of(name: str) -> FERClassifier:
    return FERClassifier.model_validate(TRAINERS[name])


def saved_network(name: str) -> Network:
    """A network with statistics of its own, so that none can be forgotten."""
    trainer = trainer_of(name)
    plan, _ = plan_network(trainer.encoder, image_channels=1, num_classes=5, dropout=0.0)
    plan = with_centers(plan, trainer.center_loss, SHAPE[:2])
    plan = with_views(plan, trainer.crops, mirrors=False)
    network = build_network(plan, generator(4, "init"))
    for key, tensor in network.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(std=0.1, generator=generator(4, key))
        elif key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator(4, key))
    return network.eval()


def _in_poster(key: str) -> str:
    key = re.sub(r"(VIT\.blocks\.\d+)\.(fc[12])\.", r"\1.mlp.\2.", key)
    return re.sub(r"(VIT\.blocks\.\d+)\.(qkv|proj)\.", r"\1.attn.\2.", key)


def _in_poster_v1(key: str) -> str:
    """For units 1/1/1 standing for 3/4/14, which are numbered throughout."""
    return re.sub(
        r"ir_back\.body([123])\.0", lambda at: f"ir_back.body.{'037'[int(at[1]) - 1]}", key
    )


def published(name: str, network: Network) -> dict[str, Any]:
    """A file as the seed's own script writes it."""
    state = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    weight, bias = network.head.linear.weight.detach(), network.head.linear.bias.detach()
    if name == "vgg":
        return {
            "logs": {"acc_val": [1.0]},
            "params": {**state, "lin3.weight": weight, "lin3.bias": bias},
        }
    if name == "poster":
        whole = {_in_poster(key): tensor for key, tensor in state.items()}
        whole |= {"VIT.head.linear.weight": weight, "VIT.head.linear.bias": bias}
        whole["ir_back.output_layer.3.weight"] = torch.zeros(1)
        return {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in whole.items()}}
    if name.startswith("poster_v1"):
        whole = {_in_poster_v1(key): tensor for key, tensor in state.items()}
        whole |= {"head.linear.weight": weight, "head.linear.bias": bias}
        whole |= {"pyramid_fuse.cls_token": torch.zeros(1, 1, 32)}
        whole["ir_back.output_layer.3.weight"] = torch.zeros(1)
        optimizer = {"state": {0: {"e_w": torch.zeros(1)}}, "param_groups": [{"rho": 0.05}]}
        return {
            "iter": 216,
            "model_state_dict": {f"module.{k}": v for k, v in whole.items()},
            "optimizer_state_dict": optimizer,
        }
    whole = {re.sub(r"shortcut", "downsample", k): v for k, v in state.items()}
    whole |= {"fc.weight": weight, "fc.bias": bias}
    if name == "dacl":
        for key, tensor in network.attention.state_dict().items():
            theirs = key if key.startswith("attention.") else f"attention_{key}"
            whole[theirs] = tensor.clone()
    return {"epoch": 7, "model_state_dict": {f"module.{k}": v for k, v in whole.items()}}


@pytest.mark.parametrize("name", TRAINERS)
def test_an_adopted_learner_scores_as_the_network_did(name: str, tmp_path: Path) -> None:
    network = saved_network(name)
    torch.save(published(name, network), tmp_path / "theirs.pth")
    report = trainer_of(name).adopt(
        tmp_path / "theirs.pth", tmp_path / "ours.pt", image_shape=SHAPE, num_classes=5
    )
    adopted, _ = load_learner(tmp_path / "ours.pt")
    images = torch.rand(6, 1, 48, 48, generator=generator(1, "images"))
    with torch.no_grad():
        for one, two in zip(network(images), adopted.eval()(images), strict=True):
            assert torch.equal(one, two)
    own = {k for k in network.state_dict() if k != "centers"}
    assert len(report["matched"]) == len(own)
    assert report["missing"] == (("centers",) if name == "dacl" else ())
    if name == "dacl":
        maps = torch.rand(3, network.plan.attention[0], generator=generator(2, "maps"))
        with torch.no_grad():
            assert torch.equal(network.attention(maps), adopted.attention(maps))


def test_an_adopted_learner_that_saw_bgr_takes_rgb(tmp_path: Path) -> None:
    network = saved_network("poster_v1")
    torch.save(published("poster_v1", network), tmp_path / "theirs.pth")
    trainer = trainer_of("poster_v1")
    turned = trainer.encoder.model_copy(update={"channel_order": "bgr"})
    trainer.model_copy(update={"encoder": turned}).adopt(
        tmp_path / "theirs.pth", tmp_path / "ours.pt", image_shape=(48, 48, 3), num_classes=5
    )
    adopted, _ = load_learner(tmp_path / "ours.pt")
    bgr = torch.rand(6, 3, 48, 48, generator=generator(1, "images"))
    with torch.no_grad():
        expected = network(bgr)[0]
        torch.testing.assert_close(adopted.eval()(bgr.flip(1))[0], expected)
        assert not torch.allclose(adopted(bgr)[0], expected, atol=1e-3)


def test_a_published_dacl_file_has_145_tensors_all_of_them_matched() -> None:
    trainer = FERClassifier.model_validate(
        {"encoder": {"name": "resnet18"}, "center_loss": {"kind": "attentive"}}
    )
    plan, _ = plan_network(trainer.encoder, image_channels=3, num_classes=7, dropout=0.0)
    plan = with_centers(plan, trainer.center_loss, (224, 224))
    with torch.device("meta"):
        network = Network(plan)
    names = [name for name in network.state_dict() if name != "centers"]
    assert len(names) == 145
    linear = [w for k, w in network.attention.named_parameters() if w.ndim == 2]
    assert round(sum(weight.numel() for weight in linear) / 1e6, 2) == 91.85


def change(content: dict[str, Any], **tensors: Tensor | None) -> dict[str, Any]:
    state = dict(content["model_state_dict"])
    for name, tensor in tensors.items():
        key = f"module.{name}".replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    return {**content, "model_state_dict": state}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc__weight": None, "fc__bias": None}, "holds an encoder and no head"),
        ({"fc__weight": torch.zeros(7, 32)}, "name as many classes as it has"),
        ({"attention__0__weight": torch.zeros(3, 3)}, "no attention network of this size"),
        ({"attention_heads__bias": None}, "no attention network of this size"),
        ({"layer1__0__conv1__weight": None}, "a partly loaded resnet10_narrow is refused"),
        ({"other__weight": torch.zeros(1)}, "a partly loaded resnet10_narrow is refused"),
    ],
)
def test_what_fits_only_in_part_is_refused(
    changes: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    content = published("dacl", saved_network("dacl"))
    torch.save(change(content, **changes), tmp_path / "theirs.pth")
    with pytest.raises(TrainingError, match=message):
        trainer_of("dacl").adopt(
            tmp_path / "theirs.pth", tmp_path / "ours.pt", image_shape=SHAPE, num_classes=5
        )
    assert not (tmp_path / "ours.pt").exists()
