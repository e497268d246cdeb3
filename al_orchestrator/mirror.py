"""Sends the ledger's outbox to the tracker, off the critical path of a round.

A thread of the controller's process waits for commits and sends what they left. A message leaves
the outbox only after the tracker took it, so a kill at any moment means at worst that it is sent
again, which changes nothing. A tracker that is down is tried again after a pause; a round never
waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from al_orchestrator.errors import AloError
from al_orchestrator.messages import Message
from al_orchestrator.pool import Pool
from al_orchestrator.tracking.base import RunIdentity, Tracker

logger = logging.getLogger(__name__)

Render = Callable[[int | None], None]
"""Renders the report folder of a round, if it is not there yet; for None, what tells of the run as
a whole, anew."""


class Mirror:
    """Feeds one run's tracker."""

    def __init__(
        self,
        pool: Pool,
        connect: Callable[[], Tracker],
        run: RunIdentity,
        render: Render,
        *,
        pause_s: float = 15.0,
    ) -> None:
        """Makes a mirror that does nothing before `start`.

        Args:
            pool: The ledger whose outbox is sent.
            connect: Makes the tracker; called on the mirror's own thread, since its imports take
                seconds.
            run: How the tracker finds the run.
            render: Called before artifacts are sent, if the tracker shows any.
            pause_s: How long a tracker that failed is left alone.
        """
        self._pool = pool
        self._connect = connect
        self._run = run
        self._render = render
        self._pause_s = pause_s
        self._tracker: Tracker | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="alo-mirror", daemon=True)
        self._said = False
        self.url: str | None = None

    def start(self) -> None:
        """Begins to send, what an earlier start left over first."""
        self._thread.start()
        self.notify()

    def notify(self) -> None:
        """There may be something to send."""
        self._wake.set()

    def close(self, timeout_s: float) -> int:
        """Sends what is left, for at most `timeout_s`; returns how many messages stay."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return len(self._pool.unsent())

    def _work(self) -> None:
        try:
            while not self._closing.is_set():
                self._wake.wait()
                self._wake.clear()
                if not self._flush() and not self._closing.is_set():
                    self._closing.wait(self._pause_s)
                    self._wake.set()
            self._flush()
        finally:
            if self._tracker is not None:
                self._tracker.close()

    def _flush(self) -> bool:
        """Sends everything unsent; False if the tracker would not take it."""
        try:
            for number, message in self._pool.unsent():
                tracker = self._tracker_for_run()
                if message.kind == "artifacts" and tracker.shows_artifacts:
                    self._render_for(message)
                tracker.send(message)
                self._pool.mark_sent([number])
        except (AloError, OSError) as error:  # unreachable, or the disk is full
            if not self._said:
                logger.warning("%s; the run goes on, and `alo sync` sends the rest later", error)
            self._said = True
            return False
        return True

    def _tracker_for_run(self) -> Tracker:
        if self._tracker is None:
            tracker = self._connect()
            self.url = tracker.open(self._run)
            self._tracker = tracker
        return self._tracker

    def _render_for(self, message: Message) -> None:
        number = message.payload.get("round")
        assert number is None or isinstance(number, int)  # the controller wrote it
        started = time.monotonic()
        self._render(number)
        what = "the run" if number is None else f"round {number}"
        logger.debug("rendered %s in %.2f s", what, time.monotonic() - started)
