"""What workers get, decided before anything is started, so that nothing waits for ever.

Ray keeps a request that no node can meet pending without a word; here it is refused with the
numbers, or, for GPUs under ``device: auto``, carried out on the CPU and said so.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from al_orchestrator.errors import ConfigError
from al_orchestrator.executors.settings import Resources


@dataclass(frozen=True)
class Node:
    """One machine of the cluster and what it has in all."""

    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Placement:
    """What each worker is given."""

    workers: int
    cpus: int  # of one worker
    gpus: float  # of one worker; 0 on the CPU
    device: Literal["cpu", "cuda"]
    why_not_cuda: str = ""  # where GPUs were asked for and are too few

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        reason = f" ({self.why_not_cuda})" if self.why_not_cuda else ""
        each = "" if self.workers == 1 else " each"
        return (
            f"{_count(self.workers, 'worker')} with {_count(self.cpus, 'CPU')}{gpus}{each}, "
            f"device {self.device}{reason}"
        )


def place(resources: Resources, nodes: Sequence[Node]) -> Placement:
    """Settles cores, GPUs and device of every worker.

    Raises:
        ConfigError: No distribution over the nodes meets the request.
    """
    gpus = 0.0 if resources.device == "cpu" else resources.gpus_per_worker
    why_not_cuda = ""
    if gpus and _room(nodes, cpus=1, gpus=gpus) < resources.workers:
        there = sum(node.gpus for node in nodes)
        asked = f"{_count(resources.workers, 'worker')} x {gpus:g} GPU asked for"
        why_not_cuda = f"{asked}, {there} there" if there else "no GPU there"
        if resources.device == "cuda":
            raise ConfigError(
                f"device 'cuda': {asked}, {there or 'none'} there; lower resources.workers or "
                "resources.gpus_per_worker, or set resources.device to 'auto' or 'cpu'"
            )
        gpus = 0.0
    cpus = resources.cpus_per_worker or _even_share(resources.workers, nodes, gpus)
    if _room(nodes, cpus=cpus, gpus=gpus) < resources.workers:
        raise ConfigError(
            f"{_count(resources.workers, 'worker')} x {_count(cpus, 'CPU')}"
            f"{f' and {gpus:g} GPU' if gpus else ''} do not fit on {_inventory(nodes)}; lower "
            "resources.workers or resources.cpus_per_worker"
        )
    device: Literal["cpu", "cuda"] = "cuda" if gpus else "cpu"
    return Placement(resources.workers, cpus, gpus, device, why_not_cuda)


def _room(nodes: Sequence[Node], *, cpus: int, gpus: float) -> int:
    """How many workers of this size fit."""
    return sum(_room_on(node, cpus=cpus, gpus=gpus) for node in nodes)


def _room_on(node: Node, *, cpus: int, gpus: float) -> int:
    by_cpu = node.cpus // cpus
    if not gpus:
        return by_cpu
    if gpus >= 1:
        return min(by_cpu, node.gpus // int(gpus))
    # A part of a GPU is a part of one GPU: three workers of 0.4 need two.
    return min(by_cpu, node.gpus * math.floor(1 / gpus))


def _even_share(workers: int, nodes: Sequence[Node], gpus: float) -> int:
    """The most cores that all workers can have alike, at least one."""
    most = max((node.cpus for node in nodes), default=1)
    fits = (c for c in range(most, 1, -1) if _room(nodes, cpus=c, gpus=gpus) >= workers)
    return next(fits, 1)


def _inventory(nodes: Sequence[Node]) -> str:
    return (
        ", ".join(
            f"{node.name} ({_count(node.cpus, 'CPU')}, {_count(node.gpus, 'GPU')})"
            for node in nodes
        )
        or "a cluster without nodes"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def this_machine(num_cpus: int | None = None) -> Node:
    """The node this process is on, as far as it may use it."""
    return Node(platform.node(), num_cpus or usable_cores(), _visible_gpus())


def usable_cores() -> int:
    """Cores this process may run on: its affinity, and the quota of its container."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, math.floor(_core_quota(Path("/sys/fs/cgroup/cpu.max")))))


def _core_quota(cpu_max: Path) -> float:
    """Cores' worth of time that control group v2 allows; infinite where it sets no limit."""
    try:
        quota, period = cpu_max.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file, or "max"
        return 1e9


def _visible_gpus() -> int:
    """NVIDIA devices this process may use, without loading torch."""
    devices = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return devices
    chosen = [entry for entry in visible.split(",") if entry.strip() not in {"", "-1"}]
    return min(devices, len(chosen))
