"""A toy problem: grey images with a bright band whose height is the class."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_once import MadeOnce

from trainers import Examples, Images, Output, PredictTask, TrainTask


@dataclass(frozen=True)
class Toy:
    """160 images of 12 x 12 pixels in three classes, and tasks on them."""

    root: Path
    images: Images
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]
    once: MadeOnce  # a fit that no test is about

    def examples(self, start: int, stop: int) -> Examples:
        rows = np.arange(start, stop)
        return Examples(rows=rows, labels=self.labels[rows])

    def task(self, attempt: str = "attempt-1", **changes: object) -> TrainTask:
        """64 labelled, 32 validation and 64 test images; its folder is new."""
        out_dir = self.root / attempt
        out_dir.mkdir()
        task = TrainTask(
            images=self.images,
            num_classes=3,
            labelled=self.examples(0, 64),
            validation=self.examples(64, 96),
            test=self.examples(96, 160),
            seed=7,
            out_dir=out_dir,
            cache_dir=self.root / "cache",
            device="cpu",
        )
        return replace(task, **changes)  # type: ignore[arg-type]

    def predict_task(
        self, checkpoint: Path | None, *outputs: Output, folder: str = "predict", **changes: object
    ) -> PredictTask:
        """Rows 30, 29, …, 0: an order of its own."""
        out_dir = self.root / folder
        out_dir.mkdir()
        fields: dict[str, Any] = {
            "images": self.images,
            "num_classes": 3,
            "rows": np.arange(30, -1, -1),
            "outputs": frozenset(outputs),
            "checkpoint": checkpoint,
            "seed": 11,
            "out_dir": out_dir,
            "cache_dir": self.root / "cache",
            "device": "cpu",
        }
        return PredictTask(**fields | changes)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    return MadeOnce(tmp_path_factory.mktemp("made"))


@pytest.fixture
def make_toy(tmp_path: Path, made_once: MadeOnce) -> Callable[..., Toy]:
    def make(*, channels: int = 1, size: int = 12, count: int = 160) -> Toy:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, count)
        pixels = rng.integers(0, 120, (count, size, size, channels), dtype=np.uint8)
        band = size // 3
        for row, label in enumerate(labels):
            pixels[row, label * band : (label + 1) * band] += 100
        np.save(tmp_path / "images.npy", pixels)
        images = Images(tmp_path / "images.npy", mean=(0.36,) * channels, std=(0.2,) * channels)
        return Toy(tmp_path, images, labels, made_once)

    return make


@pytest.fixture
def toy(make_toy: Callable[..., Toy]) -> Toy:
    return make_toy()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Results then depend neither on the machine's cores nor on who else computes on them."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
