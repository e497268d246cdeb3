"""What is fitted once in a process, however many tests look at it."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from trainers import PretrainReport, PretrainTask, TrainReport, TrainTask

TaskT = TypeVar("TaskT", TrainTask, PretrainTask)
ReportT = TypeVar("ReportT", TrainReport, PretrainReport)


class MadeOnce:
    """Fits of equal learners to equal tasks are one; each test gets its own copy of the files.

    For what a test compares with or looks at, never for the fit that it is about.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, tuple[Path, Any]] = {}

    def __call__(self, make: Callable[[TaskT], ReportT], task: TaskT) -> ReportT:
        """What `make(task)` gives, which `pickle` knows by its settings; leaves the same files."""
        key = _key(make, task)
        if key not in self._made:
            report = make(task)
            kept = self._folder / str(len(self._made))
            shutil.copytree(task.out_dir, kept / "out")
            if task.cache_dir.exists():
                shutil.copytree(task.cache_dir, kept / "cache")
            self._made[key] = kept, _moved(report, task.out_dir, kept / "out")
            return report
        kept, report = self._made[key]
        known: ReportT = report
        shutil.copytree(kept / "out", task.out_dir, dirs_exist_ok=True)
        if (kept / "cache").exists():
            shutil.copytree(kept / "cache", task.cache_dir, dirs_exist_ok=True)
        return _moved(known, kept / "out", task.out_dir)


def _key(make: object, task: TrainTask | PretrainTask) -> str:
    """Of all that decides the result; where a task's own files lie does not."""
    nowhere = Path()
    images = replace(task.images, path=nowhere)
    content = task.images.path.read_bytes()
    bare = replace(task, images=images, out_dir=nowhere, cache_dir=nowhere)
    return sha256(pickle.dumps((make, bare, content))).hexdigest()


def _moved(report: ReportT, old: Path, new: Path) -> ReportT:
    """The report with its paths below another folder."""
    values = {each.name: getattr(report, each.name) for each in fields(report)}
    paths = {name: path for name, path in values.items() if isinstance(path, Path)}
    changes: Any = {name: new / path.relative_to(old) for name, path in paths.items()}
    return replace(report, **changes)
