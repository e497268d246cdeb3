"""What is said while a run goes on: one line a stage, and a bar on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_QUIET = ("alembic", "mlflow", "ray", "urllib3", "matplotlib", "PIL")


class _ToConsole(logging.Handler):
    """Prints through the console that draws the bar, so that lines stay above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        try:
            self._console.print(
                prefix + self.format(record), markup=False, highlight=False, soft_wrap=True
            )
        except (OSError, ValueError):  # nobody reads any more: no reason to stop a run
            self.handleError(record)


def configure(*, quiet: bool) -> Console:
    """Sends the log of our own rooms to stderr; returns the console that writes there."""
    from rich.console import Console

    console = Console(file=sys.stderr)  # kept: a call in this process may have its own stderr
    handler = _ToConsole(console)
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    return console


@contextmanager
def also_to_file(path: Path) -> Iterator[None]:
    """Appends the log, with times, to a file for as long as the block runs."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


class Bar:
    """A watcher that draws a progress bar with the time left; silent where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shows = console.is_terminal and sys.stderr.isatty()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def began(self, number: int, stage: str) -> None:
        if not self._shows:
            return
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(f"round {number}: {stage}", total=None, note="")
        self._progress.start()

    def progressed(self, done: float, total: float, note: str) -> None:
        if self._progress is not None and self._task is not None:
            words = f"epoch {done:.0f}/{total:.0f} {note}"
            self._progress.update(self._task, completed=done, total=total, note=words)

    def ended(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None
