"""POSTER V2: sizes and names as published, shapes at each level, its files, its frozen part."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from trainers import Encoder, FERClassifier, TrainingError
from trainers.deep.nets.heads import DropPath
from trainers.deep.nets.poster import HEADS, SHAPES, PosterV2, relative_offsets
from trainers.deep.networks import (
    Plan,
    blank_network,
    build_encoder,
    build_network,
    load_learner,
    plan_network,
    shapes_of,
)
from trainers.deep.seeding import generator
from trainers.deep.start import fresh_network

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

WHOLE = Plan("poster_v2", 0, 3, 7, 0.0)
NARROW = Plan("poster_v2_narrow", 8, 3, 3, 0.0)
TINY = Encoder(name="poster_v2_narrow", width=8)
UNUSED_SHAPES: dict[str, tuple[Any, ...]] = {
    "ir_back.output_layer.0": ("norm", 512),
    "ir_back.output_layer.3.weight": (512, 25088),
    "ir_back.output_layer.3.bias": (512,),
    "ir_back.output_layer.4": ("norm", 512),
    "face_landback.output_layer.conv_6_dw.conv.weight": (512, 1, 7, 7),
    "face_landback.output_layer.conv_6_dw.bn": ("norm", 512),
    "face_landback.output_layer.linear.weight": (136, 512),
    "face_landback.output_layer.bn": ("norm", 136),
    **{
        f"attn{n}.relative_position_index": (side**2,) * 2 for n, side in ((1, 28), (2, 14), (3, 7))
    },
    "VIT.patch_embed.proj.weight": (768, 256, 1, 1),
    "VIT.patch_embed.proj.bias": (768,),
    "VIT.eca_block.conv.weight": (1, 1, 5),
    "VIT.CON1.weight": (768, 256, 1, 1),
    "VIT.IRLinear1.weight": (768, 1024),
    "VIT.IRLinear1.bias": (768,),
    "VIT.IRLinear2.weight": (512, 768),
    "VIT.IRLinear2.bias": (512,),
    **{f"VIT.blocks.{n}.conv.weight": (148, 148, 1) for n in range(2)},
    **{f"VIT.blocks.{n}.conv.bias": (148,) for n in range(2)},
    "VIT.head.linear.weight": (7, 768),
    "VIT.head.linear.bias": (7,),
}
"""What a published file holds beside what outputs depend on."""


class RecorderMeter:
    """Of the published training script, as a file made there names it."""

    def __init__(self) -> None:
        self.epoch_losses = np.zeros((3, 2), dtype=np.float32)
        self.total_epoch = 3


def published_names(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network, with the transformer's as its file has them."""
    inner = {"qkv": "attn", "proj": "attn", "fc1": "mlp", "fc2": "mlp"}

    def published(name: str) -> str:
        return re.sub(
            r"(VIT\.blocks\.\d+)\.(qkv|proj|fc1|fc2)\.",
            lambda found: f"{found[1]}.{inner[found[2]]}.{found[2]}.",
            name,
        )

    return {published(name): shape for name, shape in shapes_of(plan).items()}


def unused() -> dict[str, tuple[int, ...]]:
    names: dict[str, tuple[int, ...]] = {}
    for name, shape in UNUSED_SHAPES.items():
        if shape[0] == "norm":
            for each in ("weight", "bias", "running_mean", "running_var"):
                names[f"{name}.{each}"] = (int(shape[1]),)
            names[f"{name}.num_batches_tracked"] = ()
        else:
            names[name] = tuple(int(size) for size in shape)
    return names


def state_of(shapes: dict[str, tuple[int, ...]], before: str = "") -> dict[str, torch.Tensor]:
    """A state dict in which each tensor is another number, stored once."""
    return {
        before + name: torch.full(shape, n, dtype=torch.int64)
        if name.endswith("tracked")
        else torch.full(shape, n / 1000)
        for n, (name, shape) in enumerate(shapes.items())
    }


def test_the_published_network_has_its_parameters() -> None:
    network = blank_network(WHOLE)
    used = sum(weight.numel() for weight in network.parameters())
    assert used == 43_753_941  # 43.7 M in the paper's table
    stored = {name: shape for name, shape in unused().items() if "running" not in name}
    beside = sum(
        int(np.prod(shape))
        for name, shape in stored.items()
        if not name.startswith("VIT.head") and "index" not in name and "tracked" not in name
    )
    assert round((used + beside) / 1e6, 2) == 58.32


def test_a_published_file_holds_747_tensors_and_all_have_a_place(tmp_path: Path) -> None:
    names = published_names(WHOLE)
    assert len(names) == 706
    assert len(names) + len(unused()) == 747
    groups = {start: sum(name.startswith(start) for name in {**names, **unused()})
              for start in ("face_landback.", "ir_back.")}  # fmt: skip
    assert groups == {"face_landback.": 333, "ir_back.": 304}


def test_shapes_at_each_level_of_the_published_network() -> None:
    with torch.device("meta"):
        network = PosterV2(SHAPES["poster_v2"], width=64).eval()
        seen = torch.empty(2, 3, 112, 112)
        assert [each.shape[1:] for each in network.ir_back(seen)] == [
            (64, 56, 56),
            (128, 28, 28),
            (256, 14, 14),
        ]
        assert [each.shape[1:] for each in network.face_landback(seen)] == [
            (64, 28, 28),
            (128, 14, 14),
            (512, 7, 7),
        ]
    assert network.VIT.pos_embed.shape == (1, 148, 768)
    tables = [getattr(network, f"attn{n}").relative_position_bias_table for n in (1, 2, 3)]
    assert [table.shape for table in tables] == [(55**2, 2), (27**2, 4), (13**2, 8)]


def test_shapes_and_tokens_of_the_narrow_network() -> None:
    network = build_network(NARROW, generator(0, "init")).eval()
    assert isinstance(network.encoder, PosterV2)
    seen = torch.rand(2, 3, 48, 48)
    assert [each.shape[1:] for each in network.encoder.levels(seen)] == [
        (8, 8, 8),
        (16, 4, 4),
        (32, 2, 2),
    ]
    logits, embeddings = network(torch.rand(2, 1, 48, 48))  # grey is repeated
    assert (logits.shape, embeddings.shape) == ((2, 3), (2, 32))
    assert torch.isfinite(logits).all()


def test_cross_attention_is_its_formula() -> None:
    network = build_network(NARROW, generator(0, "init")).eval()
    attention: Any = network.encoder.get_submodule("attn2")
    image, asking = torch.rand(3, 16, 16), torch.rand(3, 16, 16)
    keys, values = attention.qkv(image).split(16, dim=2)
    expected = torch.empty(3, 16, 16)
    width = 16 // HEADS[1]
    for head in range(HEADS[1]):
        part = slice(head * width, (head + 1) * width)
        scores = asking[..., part] @ keys[..., part].transpose(1, 2) / width**0.5
        for place in range(16):
            for other in range(16):
                rows, columns = place // 4 - other // 4 + 3, place % 4 - other % 4 + 3
                bias = attention.relative_position_bias_table[rows * 7 + columns, head]
                scores[:, place, other] += bias
        expected[..., part] = scores.softmax(2) @ values[..., part]
    torch.testing.assert_close(attention(image, asking), attention.proj(expected))


def test_offsets_are_those_of_pairs_of_places() -> None:
    offsets = relative_offsets(2)
    assert offsets.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_feed_forward_begins_as_its_shortcut() -> None:
    network = build_network(NARROW, generator(0, "init")).train()
    network.reseed(0, 1)
    layer: Any = network.encoder.get_submodule("ffn1")
    shortcut = torch.rand(2, 64, 8)
    torch.testing.assert_close(layer(shortcut, torch.rand(2, 64, 8)), shortcut, atol=1e-4, rtol=0)
    assert (layer.gamma1 == 1e-5).all()


def test_dropped_paths_are_whole_items_and_their_mean_stays() -> None:
    drop = DropPath(0.25).train()
    drop.reseed(3, "dropout")
    seen = drop(torch.ones(4000, 3, 2))
    assert seen.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (seen.flatten(1).std(1) == 0).all()
    assert seen.mean().item() == pytest.approx(1, abs=0.03)
    drop.reseed(3, "dropout")
    assert torch.equal(drop(torch.ones(4000, 3, 2)), seen)
    assert torch.equal(drop.eval()(torch.ones(2, 3)), torch.ones(2, 3))


def test_a_full_checkpoint_of_the_published_scripts_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = published_names(NARROW)
    state = state_of(names, "module.")
    extra = {f"module.{name}": torch.zeros(1) for name in unused()}
    monkeypatch.setattr(sys.modules["__main__"], "RecorderMeter", RecorderMeter, raising=False)
    monkeypatch.setattr(RecorderMeter, "__module__", "__main__")
    content = {
        "epoch": 3,
        "state_dict": {**state, **extra},
        "best_acc": torch.tensor(92.2),
        "optimizer": {"state": {}, "param_groups": []},
        "recorder": RecorderMeter(),
    }
    path = tmp_path / "model.pth"
    torch.save(content, path)
    encoder = TINY.model_copy(update={"weights": path})
    plan, imported = plan_network(encoder, image_channels=1, num_classes=3, dropout=0.0)
    assert imported is not None
    assert imported.report is not None
    assert len(imported.report.matched) == len(names)
    assert len(imported.report.ignored) == len(unused())
    network = fresh_network(plan, imported, seed=0)
    number = [*names].index("VIT.blocks.1.attn.qkv.weight")
    weight: Any = network.encoder.get_parameter("VIT.blocks.1.qkv.weight")
    assert weight.flatten()[0].item() == pytest.approx(number / 1000)


def test_an_optimiser_only_file_is_refused_with_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model_best.pth"
    torch.save({"state": {}, "param_groups": [{"lr": 3.5e-5}]}, path)
    encoder = TINY.model_copy(update={"weights": path})
    with pytest.raises(TrainingError, match="state of an optimiser and no weights"):
        plan_network(encoder, image_channels=3, num_classes=3, dropout=0.0)


class _Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("ran",))


def test_other_classes_of_a_training_script_stay_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {}, "recorder": _Bomb()}, path, pickle_module=pickle)
    encoder = TINY.model_copy(update={"weights": path})
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        plan_network(encoder, image_channels=3, num_classes=3, dropout=0.0)
    assert "ran" not in capsys.readouterr().out


def backbone_shapes(part: str) -> dict[str, tuple[int, ...]]:
    start = f"{part}."
    return {n[len(start) :]: s for n, s in shapes_of(NARROW).items() if n.startswith(start)}


def numbered_throughout(name: str) -> str:
    """A name of an IR-50 file of POSTER v1, for units 1/1/1 standing for 3/4/14."""
    first = {"body1.0": "body.0", "body2.0": "body.3", "body3.0": "body.7"}
    return first.get(name[:7], name[:7]) + name[7:] if name[:7] in first else name


@pytest.mark.parametrize("layout", ["three bodies", "one body"])
def test_backbones_are_taken_from_files_of_their_own(tmp_path: Path, layout: str) -> None:
    shapes = backbone_shapes("ir_back")
    state = state_of(shapes)
    if layout == "one body":
        state = {numbered_throughout(name): tensor for name, tensor in state.items()}
        state["body.21.res_layer.1.weight"] = torch.zeros(1)
    state["output_layer.3.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "ir50.pth")
    landmarks = state_of(backbone_shapes("face_landback"))
    torch.save({"state_dict": landmarks}, tmp_path / "mobile.pth.tar")
    encoder = Encoder.model_validate(
        {
            "name": "poster_v2_narrow",
            "width": 8,
            "parts": {
                "ir_back": tmp_path / "ir50.pth",
                "face_landback": tmp_path / "mobile.pth.tar",
            },
            "freeze": ["face_landback"],
        }
    )
    plan, imported = plan_network(encoder, image_channels=3, num_classes=3, dropout=0.0)
    assert imported is not None
    assert len(imported.tensors) == len(shapes) + len(landmarks)
    network = fresh_network(plan, imported, seed=0)
    for name, tensor in state_of(shapes).items():
        assert torch.equal(network.encoder.state_dict()[f"ir_back.{name}"], tensor)


def test_an_ir50_of_another_layout_is_refused(tmp_path: Path) -> None:
    shapes = backbone_shapes("ir_back")
    few = {n: t for n, t in state_of(shapes).items() if not n.startswith("body")}
    torch.save({**few, "body.res.0.weight": torch.zeros(1)}, tmp_path / "ir50.pth")
    encoder = TINY.model_copy(update={"parts": {"ir_back": tmp_path / "ir50.pth"}})
    with pytest.raises(TrainingError, match="a partly loaded poster_v2_narrow is refused"):
        plan_network(encoder, image_channels=3, num_classes=3, dropout=0.0)


@pytest.mark.parametrize("field", ["parts", "freeze"])
def test_parts_are_known_by_name(field: str, tmp_path: Path) -> None:
    value: Any = {"ir_front": tmp_path} if field == "parts" else ("ir_front",)
    encoder = TINY.model_copy(update={field: value})
    with pytest.raises(TrainingError, match=r"no part ir_front; its parts are VIT, attn1.*ir_back"):
        plan_network(encoder, image_channels=3, num_classes=3, dropout=0.0)


def test_fields_that_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match="two sources"):
        Encoder.model_validate({"name": "poster_v2", "parts": {"ir_back": "a"}, "weights": "b"})
    with pytest.raises(ValidationError, match="pretraining is for networks that pool"):
        Encoder.model_validate({"name": "poster_v2", "pretrain": {"name": "simclr"}})
    with pytest.raises(ValidationError, match="center_loss weighs the dimensions"):
        FERClassifier.model_validate({"encoder": {"name": "poster_v2"}, "center_loss": {}})


def classifier(**fields: Any) -> FERClassifier:
    encoder = {"name": "poster_v2_narrow", "width": 8, "freeze": ["face_landback"]}
    settings: dict[str, Any] = {
        "encoder": encoder,
        "epochs": 2,
        "batch_size": 16,
        "optimizer": {"name": "adam", "lr": 1e-3},
        "sam": {},
        "schedule": {"name": "exponential", "factor": 0.98},
        "checkpoint_every_s": 0,
    }
    return FERClassifier.model_validate({**settings, **fields})


def test_a_frozen_part_is_the_same_to_the_last_statistic_after_training(toy: Toy) -> None:
    report = classifier().fit(toy.task("one"))
    again = classifier().fit(toy.task("two"))
    assert report.checkpoint_digest == again.checkpoint_digest
    network, _ = load_learner(report.checkpoint)
    before = fresh_network(network.plan, None, toy.task("x").seed)
    changed = {
        name.split(".")[0]
        for name, tensor in network.encoder.state_dict().items()
        if not torch.equal(tensor, before.encoder.state_dict()[name])
    }
    assert "face_landback" not in changed
    assert {"ir_back", "VIT", "attn1", "ffn1", "embed_q"} <= changed


def test_scores_one_by_one_are_those_of_a_batch() -> None:
    network = build_network(NARROW, generator(1, "init")).eval()
    seen = torch.rand(5, 3, 24, 24)
    with torch.no_grad():
        together = network(seen)[0]
        each = torch.cat([network(image[None])[0] for image in seen])
    torch.testing.assert_close(each, together)


def test_all_weights_come_of_the_generator() -> None:
    one, two = (build_network(NARROW, generator(5, "init")) for _ in range(2))
    for name, weight in one.named_parameters():
        assert torch.equal(weight, two.get_parameter(name)), name
        assert torch.isfinite(weight).all(), name
    assert isinstance(build_encoder(NARROW), nn.Module)
