"""Processes that begin with modules already imported, which takes each one seconds otherwise."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trainers import Trainer, TrainTask

_imported: list[str] = []


def forked_with(*modules: str) -> ForkServerContext:
    """Where processes are made of one that has these imported, and what others have asked for.

    There is one such process, and the last list it is given holds: each alone would undo another's.
    """
    _imported.extend(name for name in modules if name not in _imported)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_imported)
    return context


# torch's optimisers import torch._dynamo, for a second, at their first use.
FITTING = forked_with("torch._dynamo", "trainers.deep.fit", "trainers.deep.pretrain")


def fit_until_killed(
    trainer: Trainer, task: TrainTask, when: Literal["before", "after"], number: int
) -> None:
    """A fit in a process that kills itself before or after writing its so-manieth checkpoint."""
    process = FITTING.Process(target=_fit, args=(trainer, task, when, number))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _fit(trainer: Trainer, task: TrainTask, when: str, number: int) -> None:
    import torch

    from trainers.deep import checkpoints

    torch.set_num_threads(1)
    saved, written = checkpoints.save, 0

    def save_and_die(path: Path, content: Mapping[str, object]) -> None:
        nonlocal written
        written += 1
        if written == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        saved(path, content)
        if written == number and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.save = save_and_die
    trainer.fit(task)
