from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from trainers.deep.compute import Mode, Workload, choose_mode, repeatable
from trainers.deep.networks import Plan, build_network
from trainers.deep.seeding import generator
from trainers.recipes import Compute

pytestmark = pytest.mark.torch

PLAN = Plan("resnet10_narrow", width=4, in_channels=1, num_classes=3, dropout=0.0)
WORKLOAD = Workload(PLAN, image_size=(12, 12), batch_size=8, device="cpu")
AUTO = Compute(precision="auto", channels_last="auto")


def test_what_is_set_is_not_measured(tmp_path: Path) -> None:
    mode = choose_mode(Compute(precision="bfloat16", threads=3), WORKLOAD, tmp_path)
    assert mode == Mode("bfloat16", channels_last=True, threads=3)
    assert list(tmp_path.iterdir()) == []


def test_the_fastest_mode_is_chosen_once_and_kept(tmp_path: Path) -> None:
    seconds = {"float32": 2.0, "bfloat16": 1.0}
    measured: list[Mode] = []

    def measure(mode: Mode, _: Workload) -> float:
        measured.append(mode)
        return seconds[mode.precision] - mode.channels_last / 2

    chosen = choose_mode(AUTO, WORKLOAD, tmp_path, measure)
    assert (chosen.precision, chosen.channels_last) == ("bfloat16", True)
    # Had it been measured again, it would come out otherwise.
    seconds["float32"] = 0.1
    assert choose_mode(AUTO, WORKLOAD, tmp_path, measure) == chosen
    assert len(measured) == 4
    (kept,) = tmp_path.iterdir()
    assert json.loads(kept.read_text())["seconds"] == [2.0, 1.5, 1.0, 0.5]


def test_a_real_measurement_answers_with_one_of_the_candidates(tmp_path: Path) -> None:
    mode = choose_mode(AUTO, WORKLOAD, tmp_path)
    assert mode.threads == torch.get_num_threads()
    assert choose_mode(AUTO, WORKLOAD, tmp_path) == mode


def test_another_network_or_size_is_measured_for_itself(tmp_path: Path) -> None:
    choose_mode(AUTO, WORKLOAD, tmp_path)
    choose_mode(AUTO, Workload(PLAN, (16, 16), 8, "cpu"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_of_two_that_measure_at_once_the_first_decides(tmp_path: Path) -> None:
    def measured_while_another_finishes(mode: Mode, _: Workload) -> float:
        choose_mode(AUTO, WORKLOAD, tmp_path, lambda mode, _: -float(mode.channels_last))
        return float(mode.channels_last)

    assert choose_mode(AUTO, WORKLOAD, tmp_path, measured_while_another_finishes).channels_last
    assert len(list(tmp_path.iterdir())) == 1


def test_threads_are_set_inside_and_set_back_after() -> None:
    before = torch.get_num_threads()
    with repeatable(Mode("float32", False, before + 1), "cpu"):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_channels_last_changes_the_layout_and_not_the_numbers() -> None:
    images = torch.rand(2, 3, 4, 4, generator=generator(0))
    arranged = Mode("float32", True, 1).arrange(images)
    assert arranged.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(arranged, images)


def test_logits_and_embeddings_are_float32_in_bfloat16_too() -> None:
    network = build_network(PLAN, generator(0)).eval()
    with Mode("bfloat16", True, 1).autocast("cpu"):
        logits, embeddings = network(torch.zeros(2, 1, 12, 12))
    assert logits.dtype == embeddings.dtype == torch.float32


@pytest.mark.gpu
def test_a_gpu_repeats_itself() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    mode = Mode("float32", True, torch.get_num_threads())
    outputs = []
    for _ in range(2):
        network = mode.place(build_network(PLAN, generator(0)), "cuda")
        images = mode.arrange(torch.rand(8, 1, 12, 12, generator=generator(1)).to("cuda"))
        with repeatable(mode, "cuda"):
            logits, _ = network(images)
            torch.autograd.backward(logits.square().sum())
        outputs.append([p.grad.cpu() for p in network.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))
