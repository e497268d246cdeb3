"""How a network is computed on a device: precision, memory layout, determinism."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.deep.networks import Plan, build_network
from trainers.deep.seeding import generator
from trainers.files import sync
from trainers.recipes import Compute

AnyModule = TypeVar("AnyModule", bound=nn.Module)


@dataclass(frozen=True)
class Mode:
    """One way to compute; written into checkpoints, so that what goes on goes on alike."""

    precision: Literal["float32", "bfloat16"]
    channels_last: bool
    threads: int  # of the CPU

    def place(self, network: AnyModule, device: str) -> AnyModule:
        """Moves a network to the device, in this layout."""
        # nn.Module.to has no overload that types device and memory_format together.
        network.to(device)
        network.to(memory_format=self._layout)
        return network

    def arrange(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self._layout)

    def autocast(self, device: str) -> torch.autocast:
        """Inside, matrix products and convolutions are of this precision."""
        kind = torch.device(device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16")

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


@dataclass(frozen=True)
class Workload:
    """What a mode is measured for."""

    plan: Plan
    image_size: tuple[int, int]
    batch_size: int
    device: str


def choose_mode(
    compute: Compute,
    workload: Workload,
    cache_dir: Path,
    measure: Callable[[Mode, Workload], float] | None = None,
) -> Mode:
    """The mode the configuration names or, where it says `auto`, the fastest measured.

    A measurement is made once and kept in `cache_dir`: a mode that changed between rounds would
    change results. Of several workers that measure at once, the first to finish decides.

    Args:
        compute: What the configuration says.
        workload: What is to be computed, and where.
        cache_dir: Where the choice is kept.
        measure: Seconds of one training step; `seconds_a_step` if not given.
    """
    measure = measure or seconds_a_step
    candidates = _candidates(compute)
    if len(candidates) == 1:
        return candidates[0]
    question = {
        **asdict(workload),
        "candidates": [asdict(mode) for mode in candidates],
        "hardware": hardware(workload.device),
        "torch": torch.__version__,
    }
    key = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_dir / f"mode-{key}.json"
    if not path.exists():
        with repeatable(candidates[0], workload.device):
            seconds = [measure(mode, workload) for mode in candidates]
        fastest = candidates[seconds.index(min(seconds))]
        answer = {"mode": asdict(fastest), "seconds": seconds, **question}
        _create_once(path, json.dumps(answer, indent=1))
    return Mode(**json.loads(path.read_text(encoding="utf-8"))["mode"])


def _candidates(compute: Compute) -> list[Mode]:
    """Every mode that fits what is set."""
    threads = compute.threads or torch.get_num_threads()
    return [
        Mode(precision, channels_last, threads)
        for precision, channels_last in product(
            ("float32", "bfloat16") if compute.precision == "auto" else (compute.precision,),
            (False, True) if compute.channels_last == "auto" else (compute.channels_last,),
        )
    ]


def hardware(device: str) -> str:
    """The name of what computes, as recorded with results."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return _cpu_model()


@contextmanager
def repeatable(mode: Mode, device: str) -> Iterator[None]:
    """Inside, equal sums have equal bits: threads as in `mode`, a GPU that repeats itself."""
    threads = torch.get_num_threads()
    torch.set_num_threads(mode.threads)
    try:
        with _repeatable_gpu() if torch.device(device).type == "cuda" else nullcontext():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _repeatable_gpu() -> Iterator[None]:
    # cuBLAS reads this when its first handle is made, and refuses to be deterministic without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def seconds_a_step(mode: Mode, workload: Workload, repeats: int = 2) -> float:
    """The fastest of a few training steps, after one to warm up."""
    plan, device = workload.plan, workload.device
    network = mode.place(build_network(plan, generator(0, "measure")), device).train()
    shape = (workload.batch_size, plan.in_channels, *workload.image_size)
    images = mode.arrange(torch.zeros(shape, device=device))
    labels = torch.zeros(workload.batch_size, dtype=torch.int64, device=device)
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        _step(network, images, labels, mode)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _step(network: nn.Module, images: Tensor, labels: Tensor, mode: Mode) -> None:
    with mode.autocast(images.device.type):
        logits, _ = network(images)
    each = labels.repeat_interleave(len(logits) // len(labels))  # an image may have ten crops
    torch.autograd.backward(F.cross_entropy(logits, each))


def _create_once(path: Path, text: str) -> None:
    """Writes a file unless it is there already; whoever comes second changes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
