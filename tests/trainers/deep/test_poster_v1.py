"""POSTER: sizes and names as published, shapes at each stage, its quirk, its frozen part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from poster_files import UNUSED
from torch import Tensor
from torch.nn import functional as F

from trainers import FERClassifier
from trainers.deep.nets.heads import DropPath
from trainers.deep.nets.poster_v1 import SHAPES, Fusion, PosterV1, Pyramid
from trainers.deep.networks import (
    Network,
    Plan,
    blank_network,
    build_network,
    load_learner,
    shapes_of,
)
from trainers.deep.seeding import generator
from trainers.deep.start import fresh_network

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = Plan("poster_v1_narrow", 8, 3, 3, 0.0)


def of_size(name: Any) -> Plan:
    return Plan(name, 0, 3, 7, 0.0)


@pytest.mark.parametrize(
    ("size", "millions"), [("small", 52.23), ("base", 62.04), ("large", 71.85)]
)
def test_the_published_networks_have_their_parameters(size: str, millions: float) -> None:
    """Published counts are of all that is stored: landmark network, dead layers, seven classes."""
    with torch.device("meta"):
        network = Network(of_size(f"poster_v1_{size}"))
    used = sum(weight.numel() for weight in network.parameters())
    dead = sum(
        torch.Size(shape).numel()
        for name, shape in UNUSED.items()
        if "running" not in name and "tracked" not in name
    )
    assert dead == 12_847_616 + 96_016 + 512  # image network's head, landmarks' output, a token
    assert round((used + dead) / 1e6, 2) == millions


def test_mixing_tokens_is_a_convolution_more_in_each_fusion_and_nothing_else() -> None:
    for size, blocks in (("small", 4), ("base", 6), ("large", 8)):
        mixing, without = (shapes_of(of_size(f"poster_v1_{size}{end}")) for end in ("", "_affect"))
        assert without.items() <= mixing.items()
        convolutions = mixing.keys() - without.keys()
        assert len(convolutions) == 2 * 3 * blocks
        assert {mixing[name] for name in convolutions} == {(100, 100, 1), (100,)}
        assert all(re.search(r"block_[lms]\.conv\.(weight|bias)$", name) for name in convolutions)


def test_names_are_those_of_a_published_file() -> None:
    names = {*shapes_of(of_size("poster_v1_large"))} | {*UNUSED}
    groups = {
        start: sum(name.startswith(f"{start}.") for name in names)
        for start in ("face_landback", "ir_back", "pyramid_fuse", "ir_layer", "se_block")
    }
    layer = 2  # a weight and a bias
    fusion = layer * (4 + 2 + 2 + 2 + 2 + 1)  # norms, kv and proj twice, fc1 and fc2 twice, conv
    pyramid = 8 * (3 * fusion + 2 * layer) + 2 * layer + layer + 2  # … narrowing, norm, tokens
    assert groups == {
        "face_landback": 333,
        "ir_back": 304,
        "pyramid_fuse": pyramid,
        "ir_layer": 2,
        "se_block": 4,
    }
    assert sum(groups.values()) == len(names)
    block = "pyramid_fuse.blocks.7."
    assert {name.split(".")[3] for name in names if name.startswith(block)} == {
        "block_l", "block_m", "block_s", "upsample_m", "upsample_s",
    }  # fmt: skip
    assert {".".join(n.split(".")[4:-1]) for n in names if n.startswith(f"{block}block_s.")} == {
        "norm1", "norm2", "norm3", "norm4", "attn_img.kv", "attn_img.proj", "attn_lm.kv",
        "attn_lm.proj", "mlp1.fc1", "mlp1.fc2", "mlp2.fc1", "mlp2.fc2", "conv",
    }  # fmt: skip


def test_shapes_at_each_stage_of_the_published_networks() -> None:
    with torch.device("meta"):
        network = PosterV1(SHAPES["poster_v1_small"], width=64).eval()
        *_, image = network.ir_back(torch.empty(2, 3, 112, 112))
        *_, landmarks = network.face_landback(torch.empty(2, 3, 112, 112))
        assert (image.shape, landmarks.shape) == ((2, 256, 14, 14), (2, 512, 7, 7))
        assert network.ir_layer.weight.shape == (512, 1024)
        streams = network.streams(torch.empty(2, 3, 224, 224))
        assert [each.shape for each in streams] == [(2, 49, 512), (2, 49, 512)]
        fuse = network.pyramid_fuse
        assert fuse.pos_embed.shape == (1, 50, 512)
        x = torch.empty(2, 100, 512)
        levels = x, fuse.downsample_m(x), fuse.downsample_s(x)
        for block in fuse.blocks:
            levels = block(levels)
            widths = [each.shape for each in levels]
            assert widths == [(2, 100, 512), (2, 100, 256), (2, 100, 128)]
        assert fuse(*streams).shape == (2, 512)
    assert network.embedding_width == 512


def test_a_token_of_the_image_is_a_run_of_values_and_no_place() -> None:
    encoder: Any = build_network(NARROW, generator(0, "init")).eval().encoder
    # Laid out as networks are while they train: what a token holds must not hang on that.
    encoder.to(memory_format=torch.channels_last)
    seen = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    *_, maps = encoder.ir_back(seen)  # (2, 32, 4, 4)
    *_, deepest = encoder.face_landback(seen)  # (2, 64, 2, 2)
    image, landmarks = encoder.streams(seen)
    for token in range(4):
        run = torch.stack(
            [maps[:, place // 16, place % 16 // 4, place % 4]
             for place in range(token * 128, (token + 1) * 128)], dim=1
        )  # fmt: skip
        torch.testing.assert_close(image[:, token], encoder.ir_layer(run))
        assert torch.equal(landmarks[:, token], deepest[:, :, token // 2, token % 2])


def linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def normed(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    spread = ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
    scaled = (x - x.mean(-1, keepdim=True)) / (spread + 1e-6).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def fused(state: dict[str, Tensor], name: str, x: Tensor, heads: int) -> Tensor:
    """A fusion of one image's tokens (2P, C), head by head."""
    tokens, width = x.shape
    half, dim = tokens // 2, width // heads
    streams = []
    for attention, norms, mlp, own in (
        ("attn_img", ("norm1", "norm2"), "mlp1", slice(0, half)),
        ("attn_lm", ("norm3", "norm4"), "mlp2", slice(half, tokens)),
    ):
        other = slice(half, tokens) if own.start == 0 else slice(0, half)
        y = normed(state, f"{name}.{norms[0]}", x)
        both = linear(state, f"{name}.{attention}.kv", y[own])
        seen = torch.empty(half, width, dtype=x.dtype)
        for head in range(heads):
            part = slice(head * dim, (head + 1) * dim)
            keys, values = both[:, :width][:, part], both[:, width:][:, part]
            seen[:, part] = (y[other][:, part] @ keys.T / dim**0.5).softmax(1) @ values
        z = x[own] + linear(state, f"{name}.{attention}.proj", seen)
        hidden = linear(state, f"{name}.{mlp}.fc1", normed(state, f"{name}.{norms[1]}", z))
        streams.append(z + linear(state, f"{name}.{mlp}.fc2", F.gelu(hidden)))
    out = torch.cat(streams)
    if f"{name}.conv.weight" not in state:
        return out
    return state[f"{name}.conv.weight"][..., 0] @ out + state[f"{name}.conv.bias"][:, None]


def narrowed(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A convolution along the width, whose channels are the tokens."""
    weight = state[f"{name}.weight"]  # (tokens, tokens, k)
    runs = x.view(len(x), -1, weight.shape[2])
    return torch.einsum("oik,iwk->ow", weight, runs) + state[f"{name}.bias"][:, None]


def stretched(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    wide = torch.einsum("iok,iw->owk", state[f"{name}.weight"], x).flatten(1)
    return wide + state[f"{name}.bias"][:, None]


@pytest.mark.parametrize("name", ["poster_v1_narrow", "poster_v1_narrow_affect"])
def test_the_pyramid_is_its_formula(name: str) -> None:
    shape, rng = SHAPES[name], generator(3, "formula")
    pyramid = Pyramid(16, 4, shape).double().eval()
    for weight in pyramid.parameters():
        torch.nn.init.normal_(weight, std=0.4, generator=rng)
    state = {each: tensor.detach() for each, tensor in pyramid.state_dict().items()}
    image, landmarks = torch.rand(2, 1, 4, 16, generator=rng, dtype=torch.float64)
    first = torch.cat([image[0].mean(0, keepdim=True), image[0]]) + state["pos_embed"][0]
    x = torch.cat([first, landmarks[0].mean(0, keepdim=True), landmarks[0]])
    levels = [x, *(narrowed(state, f"downsample_{each}", x) for each in "ms")]
    for number in range(shape.blocks):
        at = f"blocks.{number}"
        large, medium, small = (
            fused(state, f"{at}.block_{level}", each, shape.heads)
            for level, each in zip("lms", levels, strict=True)
        )
        medium = medium + stretched(state, f"{at}.upsample_s", small)
        levels = [large + stretched(state, f"{at}.upsample_m", medium), medium, small]
    expected = normed(state, "norm", levels[0][0])
    torch.testing.assert_close(pyramid(image, landmarks)[0], expected)


def test_logits_are_linear_in_the_gated_class_token() -> None:
    network = build_network(NARROW, generator(0, "init")).eval()
    encoder: Any = network.encoder
    images = torch.rand(2, 1, 48, 48)  # grey is repeated, any size is resized
    logits, embeddings = network(images)
    assert (logits.shape, embeddings.shape, embeddings.dtype) == ((2, 3), (2, 64), torch.float32)
    torch.testing.assert_close(logits, network.head.linear(embeddings))
    token = encoder.pyramid_fuse(*encoder.streams(images.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(embeddings, encoder.se_block(token))


def test_dropped_paths_grow_from_none_to_a_tenth() -> None:
    with torch.device("meta"):
        network = PosterV1(SHAPES["poster_v1_base"], width=64)
    rates = [
        {m.p for m in block.modules() if isinstance(m, DropPath)}
        for block in network.pyramid_fuse.blocks
    ]
    assert [rate for (rate,) in rates] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])
    fusion = Fusion(8, 10, SHAPES["poster_v1_narrow"], 0.5).train()
    fusion.drop_path.reseed(0, "dropout")
    x = torch.rand(1, 10, 8).expand(64, -1, -1)
    assert len(fusion(x).unique(dim=0).round(decimals=4).unique(dim=0)) == 2**4  # four draws each


def test_all_weights_come_of_the_generator() -> None:
    one, two = (build_network(NARROW, generator(5, "init")) for _ in range(2))
    for name, weight in one.named_parameters():
        assert torch.equal(weight, two.get_parameter(name)), name
        assert torch.isfinite(weight).all(), name
        is_constant = "norm" in name or "bn" in name or weight.ndim == 1 or "pos_embed" in name
        assert is_constant or weight.std() > 0.01, name
    assert not one.get_parameter("encoder.pyramid_fuse.pos_embed").any()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_scores_one_by_one_are_those_of_a_batch(precision: torch.dtype) -> None:
    network = build_network(NARROW, generator(1, "init")).eval()
    seen = torch.rand(5, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        together = network(seen)[0]
        each = torch.cat([network(image[None])[0] for image in seen])
    torch.testing.assert_close(each, together, atol=1e-5 if precision == torch.float32 else 0.05,
                               rtol=0)  # fmt: skip


def test_a_frozen_part_is_the_same_to_the_last_statistic_after_training(toy: Toy) -> None:
    trainer = FERClassifier.model_validate(
        {
            "encoder": {"name": "poster_v1_narrow", "width": 8, "freeze": ["face_landback"]},
            "epochs": 1,
            "batch_size": 16,
            "optimizer": {"name": "adam", "lr": 1e-3},
            "sam": {},
            "schedule": {"name": "exponential", "factor": 0.98},
        }
    )
    report = trainer.fit(toy.task("one"))
    assert trainer.fit(toy.task("two")).checkpoint_digest == report.checkpoint_digest
    network, _ = load_learner(report.checkpoint)
    before = fresh_network(network.plan, None, toy.task("x").seed)
    changed = {
        name.split(".")[0]
        for name, tensor in network.encoder.state_dict().items()
        if not torch.equal(tensor, before.encoder.state_dict()[name])
    }
    assert changed == {"ir_back", "ir_layer", "pyramid_fuse", "se_block"}
    assert not blank_network(network.plan).train().encoder.get_submodule("face_landback").training
