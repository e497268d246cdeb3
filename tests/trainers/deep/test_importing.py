from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainers import Encoder, TrainingError
from trainers.deep.importing import ImportReport, read_encoder_file
from trainers.deep.networks import Plan, build_network, save_learner, shapes_of
from trainers.deep.seeding import generator

pytestmark = pytest.mark.torch

PLAN = Plan("resnet18_cifar", width=4, in_channels=3, num_classes=7, dropout=0.0)


@pytest.fixture(scope="module")
def encoder_weights() -> dict[str, Tensor]:
    return dict(build_network(PLAN, generator(0)).encoder.state_dict())


def imported(path: Path, **settings: object) -> tuple[ImportReport, Mapping[str, Tensor]]:
    fields = {"name": "resnet18_cifar", "width": 4, "weights": path, **settings}
    encoder = Encoder.model_validate(fields)
    shapes = shapes_of(PLAN)
    found = read_encoder_file(path, encoder, shapes).fitted_to(shapes, encoder)
    assert found.report is not None
    return found.report, found.tensors


def write(path: Path, encoder: Mapping[str, Tensor], prefix: str = "") -> Path:
    torch.save({f"{prefix}{name}": value for name, value in encoder.items()}, path)
    return path


@pytest.mark.parametrize(
    "prefix", ["", "encoder.", "encoder.module.", "module.encoder.", "module.", "backbone."]
)
def test_known_prefixes_are_found(
    tmp_path: Path, encoder_weights: dict[str, Tensor], prefix: str
) -> None:
    report, tensors = imported(write(tmp_path / "x.pt", encoder_weights, prefix))
    assert report.prefix == prefix
    assert len(report.matched) == 120
    assert all(torch.equal(tensors[name], encoder_weights[name]) for name in encoder_weights)


@pytest.mark.parametrize("parallel", ["", "module."])
def test_a_contrastive_checkpoint_gives_120_tensors_and_leaves_six_aside(
    tmp_path: Path, encoder_weights: dict[str, Tensor], parallel: str
) -> None:
    encoder = {f"encoder.{parallel}{name}": value for name, value in encoder_weights.items()}
    heads = {
        f"encoder.{parallel}linear.weight": torch.zeros(10, 32),
        f"encoder.{parallel}linear.bias": torch.zeros(10),
        "head.0.weight": torch.zeros(32, 32),
        "head.0.bias": torch.zeros(32),
        "head.2.weight": torch.zeros(128, 32),
        "head.2.bias": torch.zeros(128),
    }
    content = {
        "opt": argparse.Namespace(epochs=1000),
        "model": encoder | heads,
        "optimizer": {"state": {}},
        "epoch": 1000,
    }
    torch.save(content, tmp_path / "last.pth")
    report, _ = imported(tmp_path / "last.pth")
    assert len(report.matched) == 120
    assert report.ignored == tuple(sorted(heads))
    assert report.missing == report.unexpected == report.mismatched == ()


def test_a_state_dict_under_its_own_key_is_found(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    state = {f"backbone.{name}": value for name, value in encoder_weights.items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.ckpt")
    assert len(imported(tmp_path / "x.ckpt")[0].matched) == 120


def test_our_own_checkpoints_can_be_started_from(tmp_path: Path) -> None:
    save_learner(tmp_path / "checkpoint.pt", build_network(PLAN, generator(0)), {})
    report, _ = imported(tmp_path / "checkpoint.pt")
    assert len(report.matched) == 120
    assert report.ignored == ("head.linear.bias", "head.linear.weight")


def test_the_downstream_net_of_the_published_code_leaves_its_classifier_aside(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    extra = {"linear.weight": torch.zeros(7, 32), "linear.bias": torch.zeros(7)}
    report, _ = imported(write(tmp_path / "x.pt", encoder_weights | extra))
    assert report.ignored == ("linear.bias", "linear.weight")


def test_a_missing_weight_is_refused_unless_allowed(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    partial = {n: v for n, v in encoder_weights.items() if not n.startswith("layer4.1.")}
    path = write(tmp_path / "x.pt", partial)
    with pytest.raises(TrainingError, match=r"12 missing .*allow_missing: \[layer4\.1\.bn1"):
        imported(path)
    report, tensors = imported(path, allow_missing=("layer4.1.*",))
    assert len(report.missing) == 12
    assert len(tensors) == 108


def test_an_unexpected_weight_is_refused_unless_allowed(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    path = write(tmp_path / "x.pt", encoder_weights | {"layer5.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(TrainingError, match=r"allow_unexpected: \[layer5\.0\.conv1\.weight\]"):
        imported(path)
    report, _ = imported(path, allow_unexpected=("layer5.*",))
    assert report.ignored == ("layer5.0.conv1.weight",)


def test_a_weight_of_another_shape_is_refused_unless_it_may_be_drawn_anew(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    path = write(tmp_path / "x.pt", {**encoder_weights, "conv1.weight": torch.zeros(4, 3, 7, 7)})
    with pytest.raises(TrainingError, match=r"1 mismatched \(conv1\.weight\)"):
        imported(path)
    report, tensors = imported(path, allow_missing=("conv1.weight",))
    assert report.mismatched == ("conv1.weight",)
    assert "conv1.weight" not in tensors


def test_an_encoder_of_another_architecture_is_refused(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    path = write(tmp_path / "x.pt", encoder_weights)
    encoder = Encoder(name="resnet10_narrow", weights=path)
    shapes = shapes_of(Plan("resnet10_narrow", 4, 3, 7, 0.0))
    found = read_encoder_file(path, encoder, shapes)
    with pytest.raises(TrainingError, match="partly loaded resnet10_narrow"):
        found.fitted_to(shapes, encoder)


def test_an_unknown_prefix_is_refused_unless_named(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    path = write(tmp_path / "x.pt", encoder_weights, "student.net.")
    with pytest.raises(TrainingError, match=r"has none of the 120 weights.*student\.net"):
        imported(path)
    assert len(imported(path, prefix="student.net.")[0].matched) == 120


def test_a_prefix_is_taken_off_the_front_only(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    odd = {
        f"encoder.{n.replace('layer1.', 'layer1.module.')}": v for n, v in encoder_weights.items()
    }
    with pytest.raises(TrainingError, match="24 missing"):
        imported(write(tmp_path / "x.pt", odd))


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"optimizer": {"lr": 1.0}}, tmp_path / "x.pt")
    with pytest.raises(TrainingError, match="has no state dict"):
        imported(tmp_path / "x.pt")


def test_the_report_names_and_counts(tmp_path: Path, encoder_weights: dict[str, Tensor]) -> None:
    report, _ = imported(write(tmp_path / "x.pt", encoder_weights | {"fc.bias": torch.zeros(1)}))
    assert str(report).endswith("120 tensors matched under prefix '', 1 ignored (fc.bias)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t * float("nan"), "holds values that are not finite"),
        (lambda t: t.to(torch.int32), r"is of torch\.int32, and weights are floating-point"),
    ],
)
def test_weights_nobody_could_use_are_refused(
    tmp_path: Path,
    encoder_weights: dict[str, Tensor],
    change: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    spoiled = {**encoder_weights, "conv1.weight": change(encoder_weights["conv1.weight"])}
    with pytest.raises(TrainingError, match=message):
        imported(write(tmp_path / "x.pt", spoiled))


def test_an_import_never_writes_over_a_file(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    path = write(tmp_path / "x.pt", encoder_weights)
    before = path.read_bytes()
    encoder = Encoder(name="resnet18_cifar", width=4, weights=path)
    with pytest.raises(TrainingError, match="is not written over"):
        encoder.adopt(path)
    assert path.read_bytes() == before
    with pytest.raises(TrainingError, match="cannot be written"):
        encoder.adopt(path / "below.pt")


def test_a_backbone_that_is_a_sequence_is_known_by_its_numbers(
    tmp_path: Path, encoder_weights: dict[str, Tensor]
) -> None:
    numbers = {"conv1": "0", "bn1": "1", **{f"layer{n}": str(n + 3) for n in range(1, 5)}}
    numbered = {
        ".".join([numbers[name.split(".")[0]], *name.split(".")[1:]]): tensor
        for name, tensor in encoder_weights.items()
    }
    report, tensors = imported(write(tmp_path / "x.ckpt", numbered, "backbone."))
    assert len(report.matched) == 120
    assert all(torch.equal(tensors[name], encoder_weights[name]) for name in encoder_weights)


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("it ran",))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80"])
def test_what_is_no_checkpoint_is_called_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        imported(tmp_path / "x.pt")


def test_nobody_is_told_to_read_a_file_unsafely(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": _Runs()}, tmp_path / "x.pt")
    with pytest.raises(TrainingError, match="it holds other objects") as caught:
        imported(tmp_path / "x.pt")
    assert "weights_only" not in str(caught.value)
    assert "it ran" not in capsys.readouterr().out
