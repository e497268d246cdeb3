"""Everything a controller works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from al_orchestrator.config import ExperimentConfig
from al_orchestrator.controller.corpus import Corpus
from al_orchestrator.datasets.base import PackedDataset
from al_orchestrator.executors.base import Executor
from al_orchestrator.pool import Pool
from al_orchestrator.run_dir import RunDir
from al_orchestrator.splits import Splits
from trainers.base import Images


class Watcher(Protocol):
    """Somebody who looks on. Nothing depends on what it does."""

    def began(self, number: int, stage: str) -> None:
        """A long stage begins."""

    def progressed(self, done: float, total: float, note: str) -> None:
        """The stage under way is this far."""

    def ended(self) -> None:
        """The stage under way is over."""


class Blind:
    """A watcher that looks away."""

    def began(self, number: int, stage: str) -> None: ...

    def progressed(self, done: float, total: float, note: str) -> None: ...

    def ended(self) -> None: ...


@dataclass(frozen=True)
class Rooms:
    """Everything a controller works with, opened and checked."""

    config: ExperimentConfig
    run: RunDir
    pool: Pool
    data: PackedDataset
    splits: Splits
    corpus: Callable[[], Corpus]  # what the encoder is learned from; read at the first call
    encoders: Path  # what depends on an encoder alone, shared between runs
    executor: Callable[[], Executor]  # opened at the first call
    committed: Callable[[], None]  # told after each commit
    watcher: Watcher

    @property
    def images(self) -> Images:
        """The packed images as a task names them."""
        manifest = self.data.manifest
        return Images(path=self.data.images, mean=manifest.mean, std=manifest.std)
