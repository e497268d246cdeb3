from __future__ import annotations

import argparse
import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from trainers import TrainingError
from trainers.deep.checkpoints import digest_of_weights, load, on_cpu, save

pytestmark = pytest.mark.torch


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("code was run",)


def test_the_digest_is_over_names_types_shapes_and_bytes() -> None:
    weights = {"b": torch.tensor([1.0]), "a": torch.tensor(2)}
    by_hand = hashlib.sha256(
        b"a\0torch.int64\0()\0" + (2).to_bytes(8, "little")
        + b"b\0torch.float32\0(1,)\0" + b"\x00\x00\x80\x3f"
    )  # fmt: skip
    assert digest_of_weights(weights) == by_hand.hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"x": torch.zeros(2, 3)},
        {"w": torch.zeros(3, 2)},
        {"w": torch.zeros(2, 3, dtype=torch.bfloat16)},
        {"w": torch.full((2, 3), -0.0)},
        {},
    ],
)
def test_any_difference_changes_the_digest(other: dict[str, torch.Tensor]) -> None:
    assert digest_of_weights(other) != digest_of_weights({"w": torch.zeros(2, 3)})


def test_order_and_memory_layout_do_not_change_the_digest() -> None:
    x = torch.arange(24.0).view(1, 2, 3, 4)
    other = {"w": x.contiguous(memory_format=torch.channels_last), "v": torch.ones(1)}
    assert digest_of_weights(other) == digest_of_weights({"v": torch.ones(1), "w": x})


def test_a_copy_does_not_follow_later_steps() -> None:
    weight = torch.zeros(2)
    copy = on_cpu({"w": weight})
    weight += 1
    assert copy["w"].tolist() == [0, 0]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save(tmp_path / "x.pt", {"w": torch.arange(3), "meta": {"n": 1, "who": [None, "me"]}})
    content = load(tmp_path / "x.pt")
    assert content["meta"] == {"n": 1, "who": [None, "me"]}
    assert isinstance(content["w"], torch.Tensor)


def test_options_of_old_checkpoints_are_let_through(tmp_path: Path) -> None:
    torch.save({"opt": argparse.Namespace(lr=0.1)}, tmp_path / "x.pt")
    assert load(tmp_path / "x.pt")["opt"] == argparse.Namespace(lr=0.1)


def test_a_file_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": Evil()}, tmp_path / "x.pt")
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint of tensors"):
        load(tmp_path / "x.pt")
    assert capsys.readouterr().out == ""


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.pt", {"w": torch.arange(1000)})
    whole = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"x\.pt cannot be read"):
        load(tmp_path / "x.pt")


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(1), tmp_path / "x.pt")
    with pytest.raises(TrainingError, match="holds a Tensor"):
        load(tmp_path / "x.pt")


def test_a_plain_pickle_of_anything_but_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"w": Evil()}, protocol=2))
    with pytest.raises(TrainingError, match=r"x\.pkl cannot be read"):
        load(tmp_path / "x.pkl")


class EvilStorage:
    """Hides what it wants to run inside the bytes of a storage."""

    def __reduce__(self) -> tuple[object, ...]:
        return torch.storage._load_from_bytes, (pickle.dumps(Evil()),)


def test_nothing_runs_from_inside_a_storage(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"w": EvilStorage()}))
    with pytest.raises(TrainingError, match=r"x\.pkl cannot be read"):
        load(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_plain_pickle_of_a_state_dict_is_read(tmp_path: Path, protocol: int) -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(layers.state_dict(), protocol=protocol))
    found = load(tmp_path / "x.pkl")
    assert found.keys() == layers.state_dict().keys()
    for name, tensor in layers.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
