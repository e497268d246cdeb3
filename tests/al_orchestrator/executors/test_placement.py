"""Resources are settled before anything starts, and never asked for in vain."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.errors import ConfigError
from al_orchestrator.executors import Resources
from al_orchestrator.executors.placement import (
    Node,
    _core_quota,
    _visible_gpus,
    place,
    usable_cores,
)

LAPTOP = Node("laptop", cpus=8, gpus=0)
GPU_BOX = Node("gpu-1", cpus=16, gpus=2)


def test_a_single_worker_gets_all_cores_and_the_gpu_it_asks_for() -> None:
    placement = place(Resources(), [GPU_BOX])
    assert (placement.cpus, placement.gpus, placement.device) == (16, 1, "cuda")
    assert str(placement) == "1 worker with 16 CPUs and 1 GPU, device cuda"


def test_workers_share_the_cores_of_a_node_evenly() -> None:
    assert place(Resources(workers=3), [LAPTOP]).cpus == 2


def test_workers_are_alike_on_nodes_that_are_not() -> None:
    assert place(Resources(workers=2), [LAPTOP, GPU_BOX]).cpus == 8


def test_nodes_without_cores_take_no_workers() -> None:
    assert place(Resources(), [Node("head", 0, 0), LAPTOP]).cpus == 8


def test_auto_goes_to_the_cpu_where_there_is_no_gpu_and_says_so() -> None:
    placement = place(Resources(device="auto"), [LAPTOP])
    assert (placement.gpus, placement.device) == (0, "cpu")
    assert str(placement) == "1 worker with 8 CPUs, device cpu (no GPU there)"


def test_auto_goes_to_the_cpu_where_gpus_are_too_few_and_gives_the_numbers() -> None:
    placement = place(Resources(workers=3), [GPU_BOX])
    assert str(placement) == (
        "3 workers with 5 CPUs each, device cpu (3 workers x 1 GPU asked for, 2 there)"
    )


def test_cuda_without_enough_gpus_is_refused_with_the_numbers_and_the_way_out() -> None:
    with pytest.raises(ConfigError) as caught:
        place(Resources(device="cuda", gpus_per_worker=1), [LAPTOP])
    assert str(caught.value) == (
        "device 'cuda': 1 worker x 1 GPU asked for, none there; lower resources.workers or "
        "resources.gpus_per_worker, or set resources.device to 'auto' or 'cpu'"
    )


def test_the_cpu_asks_for_no_gpu() -> None:
    placement = place(Resources(device="cpu"), [GPU_BOX])
    assert (placement.gpus, placement.device, placement.why_not_cuda) == (0, "cpu", "")


@pytest.mark.parametrize(
    ("share", "workers", "fits"),
    [
        (0.5, 4, True),
        (0.5, 5, False),
        (0.1, 20, True),
        (0.4, 4, True),  # two on each GPU
        (0.4, 5, False),  # although five times 0.4 are two GPUs
        (2, 1, True),
        (2, 2, False),
    ],
)
def test_a_part_of_a_gpu_is_a_part_of_one_gpu(share: float, workers: int, fits: bool) -> None:
    node = Node("gpu-1", cpus=64, gpus=2)
    placement = place(Resources(workers=workers, gpus_per_worker=share), [node])
    assert (placement.device == "cuda") is fits


def test_more_cores_than_a_node_has_are_refused_with_the_numbers_and_the_way_out() -> None:
    with pytest.raises(ConfigError) as caught:
        place(Resources(cpus_per_worker=17, device="cpu"), [LAPTOP, GPU_BOX])
    assert str(caught.value) == (
        "1 worker x 17 CPUs do not fit on laptop (8 CPUs, 0 GPUs), gpu-1 (16 CPUs, 2 GPUs); "
        "lower resources.workers or resources.cpus_per_worker"
    )


def test_more_workers_than_cores_are_refused() -> None:
    with pytest.raises(ConfigError, match="9 workers x 1 CPU do not fit"):
        place(Resources(workers=9), [LAPTOP])


nodes = st.lists(
    st.builds(Node, st.just("n"), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=3
)


@given(nodes, st.integers(1, 4), st.integers(1, 4))
def test_what_is_placed_fits_by_trying_all_ways(nodes: list[Node], workers: int, cpus: int) -> None:
    def fits(assignment: tuple[int, ...]) -> bool:
        loads = [assignment.count(number) * cpus for number in range(len(nodes))]
        return all(load <= node.cpus for load, node in zip(loads, nodes, strict=True))

    possible = any(map(fits, product(range(len(nodes)), repeat=workers)))
    request = Resources(workers=workers, cpus_per_worker=cpus, device="cpu")
    if possible:
        assert place(request, nodes).cpus == cpus
    else:
        with pytest.raises(ConfigError):
            place(request, nodes)


@given(nodes, st.integers(1, 4))
def test_an_even_share_is_the_most_that_all_workers_can_have(
    nodes: list[Node], workers: int
) -> None:
    try:
        share = place(Resources(workers=workers, device="cpu"), nodes).cpus
    except ConfigError:
        assert sum(node.cpus for node in nodes) < workers
        return
    with pytest.raises(ConfigError):
        place(Resources(workers=workers, cpus_per_worker=share + 1, device="cpu"), nodes)


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2.0), ("50000 100000\n", 0.5), ("max 100000\n", 1e9)]
)
def test_a_container_s_quota_is_read(tmp_path: Path, text: str, cores: float) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert _core_quota(file) == cores


def test_without_a_quota_there_is_no_limit(tmp_path: Path) -> None:
    assert _core_quota(tmp_path / "cpu.max") == 1e9
    assert usable_cores() >= 1


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_not_there(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert _visible_gpus() == 0
