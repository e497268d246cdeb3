"""Files of POSTER: every name accounted for, variants kept apart, colours turned round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from poster_files import UNUSED, in_published_layout
from pydantic import ValidationError

from trainers import Encoder, TrainingError
from trainers.deep.importing import ImportedEncoder
from trainers.deep.networks import Network, Plan, build_network, plan_network, shapes_of
from trainers.deep.seeding import generator
from trainers.deep.start import fresh_network

pytestmark = pytest.mark.torch

TINY = Encoder(name="poster_v1_narrow", width=8)
AFFECT = Encoder(name="poster_v1_narrow_affect", width=8)
NARROW = Plan("poster_v1_narrow", 8, 3, 3, 0.0)


def published(encoder: Encoder) -> dict[str, Any]:
    """A file as the published script writes it; each tensor is another number."""
    shapes = shapes_of(Plan(encoder.name, encoder.width or 0, 3, 2, 0.0))
    state = {
        in_published_layout(name): torch.full(shape, number, dtype=torch.int64)
        if name.endswith("tracked")
        else torch.full(shape, number / 1000)
        for number, (name, shape) in enumerate(shapes.items())
    }
    state |= {f"module.{name}": torch.zeros(1) for name in UNUSED}
    state |= {"module.head.linear.weight": torch.zeros(7, 64)}
    state |= {"module.head.linear.bias": torch.zeros(7)}
    base = {"lr": 4e-5, "rho": 0.05, "adaptive": False, "params": [0]}
    optimizer = {"state": {0: {"e_w": torch.zeros(2)}}, "param_groups": [base]}
    return {"iter": 216, "model_state_dict": state, "optimizer_state_dict": optimizer}


def read(path: Path, encoder: Encoder, **changes: Any) -> tuple[Plan, ImportedEncoder]:
    chosen = encoder.model_copy(update={"weights": path, **changes})
    plan, imported = plan_network(chosen, image_channels=3, num_classes=7, dropout=0.0)
    assert imported is not None
    return plan, imported


@pytest.mark.parametrize("encoder", [TINY, AFFECT], ids=lambda each: each.name)
def test_every_name_of_a_published_file_is_accounted_for(encoder: Encoder, tmp_path: Path) -> None:
    torch.save(published(encoder), tmp_path / "epoch216_acc0.9205.pth")
    plan, imported = read(tmp_path / "epoch216_acc0.9205.pth", encoder)
    report = imported.report
    assert report is not None
    shapes = shapes_of(plan)
    assert set(report.matched) == shapes.keys()
    assert len(report.ignored) == len(UNUSED) + 2  # and the head
    assert report.missing == report.unexpected == report.mismatched == ()
    weights = fresh_network(plan, imported, seed=0).encoder.state_dict()
    for number, name in enumerate(shapes):
        assert weights[name].unique().tolist() in ([number], [pytest.approx(number / 1000)]), name


@pytest.mark.parametrize(
    ("made_with", "read_as"), [(TINY, AFFECT), (AFFECT, TINY)], ids=["mixing", "without"]
)
def test_a_file_of_the_other_variant_is_refused(
    made_with: Encoder, read_as: Encoder, tmp_path: Path
) -> None:
    torch.save(published(made_with), tmp_path / "theirs.pth")
    with pytest.raises(TrainingError, match=rf"conv\..*a partly loaded {read_as.name} is refused"):
        read(tmp_path / "theirs.pth", read_as)


def drawn(path: Path) -> Network:
    """A network, and its file in the published layout."""
    network = build_network(NARROW, generator(4, "init")).eval()
    state = {in_published_layout(n): t for n, t in network.encoder.state_dict().items()}
    torch.save({"iter": 1, "model_state_dict": state}, path)
    return network


def test_a_network_that_saw_bgr_is_turned_round_to_see_rgb(tmp_path: Path) -> None:
    network = drawn(tmp_path / "theirs.pth")
    bgr = torch.rand(2, 3, 32, 32)
    turned = fresh_network(*read(tmp_path / "theirs.pth", TINY, channel_order="bgr"), 0).eval()
    straight = fresh_network(*read(tmp_path / "theirs.pth", TINY), 0).eval()
    with torch.no_grad():
        expected = network.embed(bgr)
        torch.testing.assert_close(turned.embed(bgr.flip(1)), expected)
        assert torch.equal(straight.embed(bgr), expected)
        assert not torch.allclose(turned.embed(bgr), expected, atol=1e-3)


def test_backbones_from_files_of_their_own_are_turned_round_too(tmp_path: Path) -> None:
    network = drawn(tmp_path / "theirs.pth")
    files = {}
    for part in ("ir_back", "face_landback"):
        files[part] = tmp_path / f"{part}.pth"
        torch.save(network.encoder.get_submodule(part).state_dict(), files[part])
    fields = {"name": TINY.name, "width": 8, "parts": files, "channel_order": "bgr"}
    encoder = Encoder.model_validate(fields)
    plan, imported = plan_network(encoder, image_channels=3, num_classes=3, dropout=0.0)
    found: Any = fresh_network(plan, imported, seed=0).eval().encoder
    ours: Any = network.encoder
    bgr = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for part in files:
            own, theirs = found.get_submodule(part), ours.get_submodule(part)
            torch.testing.assert_close(own(bgr.flip(1)), theirs(bgr))


def test_an_order_of_colours_is_one_of_a_file_with_colours(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="there is no file"):
        Encoder.model_validate({"name": "poster_v1_narrow", "channel_order": "bgr"})
    grey = Encoder(name="resnet10_narrow", width=4)
    shapes = shapes_of(Plan(grey.name, 4, 1, 2, 0.0))
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "grey.pth")
    fields = {**grey.model_dump(), "weights": tmp_path / "grey.pth", "channel_order": "bgr"}
    with pytest.raises(TrainingError, match="no first layer of three colours"):
        plan_network(Encoder.model_validate(fields), image_channels=1, num_classes=2, dropout=0.0)
