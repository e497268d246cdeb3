"""A scheduler that asks to stop is obeyed after the step under way is undone or committed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StoppedByScheduler(BaseException):
    """SIGTERM or SIGUSR1 arrived: stop soon, and let the scheduler start the command again."""


@contextmanager
def obeying_schedulers() -> Iterator[None]:
    """Turns the first SIGTERM or SIGUSR1 into `StoppedByScheduler`; the second one kills."""
    asked = (signal.SIGTERM, signal.SIGUSR1)

    def stop(number: int, _: FrameType | None) -> None:
        for each in asked:
            signal.signal(each, signal.SIG_DFL)
        raise StoppedByScheduler(signal.Signals(number).name)

    before = {each: signal.signal(each, stop) for each in asked}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
