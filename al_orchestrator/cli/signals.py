"""A scheduler that asks to stop is obeyed after the step under way is undone or committed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StoppedByScheduler(BaseException):
    """SIGTERM or SIGUSR1 arrived: let the scheduler start the command again."""


@contextmanager
def obeying_schedulers() -> Iterator[None]:
    """Ends the block with `StoppedByScheduler` at the first such signal; the second kills."""
    asking = (signal.SIGTERM, signal.SIGUSR1)
    asked: list[str] = []

    def stop(number: int, _: FrameType | None) -> None:
        asked.append(signal.Signals(number).name)
        for each in asking:
            signal.signal(each, signal.SIG_DFL)
        # The one exception that Ray lets through from inside its own calls.
        raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in asking}
    try:
        yield
    except KeyboardInterrupt:
        if asked:
            raise StoppedByScheduler(asked[0]) from None
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
