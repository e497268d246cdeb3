from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from al_orchestrator.errors import TrackingError
from al_orchestrator.messages import Message
from al_orchestrator.mirror import Mirror
from al_orchestrator.pool import Pool, Provenance
from al_orchestrator.tracking.base import RunIdentity, Tracker

WHO = RunIdentity("k", "mine", "faces", Path("/nowhere"))


class Remembering(Tracker):
    """Keeps what it is told; is out of reach for its first `down` calls."""

    def __init__(self, down: int = 0) -> None:
        self.down = down
        self.sent: list[Message] = []
        self.reached = threading.Event()

    def open(self, run: RunIdentity) -> str | None:
        return f"memory://{run.key}"

    def send(self, message: Message) -> None:
        self.reached.set()
        if self.down:
            self.down -= 1
            raise TrackingError("nobody there")
        self.sent.append(message)

    def place_below(self, parent: RunIdentity) -> None:
        raise NotImplementedError

    def close(self) -> None: ...


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with Pool(tmp_path / "pool.db") as pool:
        pool.found(Provenance("k", "i", "d"))
        pool.take_over({})
        yield pool


def tell(pool: Pool, *steps: int) -> None:
    with pool.commit() as entry:
        for step in steps:
            entry.tell("metrics", {"step": step, "metrics": {}})


class Blind(Remembering):
    """Takes everything, and has no use for pictures."""

    shows_artifacts = False


def mirror_to(tracker: Tracker, pool: Pool, rendered: list[int | None] | None = None) -> Mirror:
    render = (rendered if rendered is not None else []).append
    return Mirror(pool, lambda: tracker, WHO, render, pause_s=0.01)


def test_everything_committed_is_sent_once_and_in_order(pool: Pool) -> None:
    tracker = Remembering()
    mirror = mirror_to(tracker, pool)
    tell(pool, 1, 2)
    mirror.start()
    tell(pool, 3)
    assert mirror.close(10) == 0
    assert [m.payload["step"] for m in tracker.sent] == [1, 2, 3]
    assert mirror.url == "memory://k"


def test_a_tracker_that_was_down_gets_the_same_messages_later(pool: Pool) -> None:
    tracker = Remembering(down=2)
    mirror = mirror_to(tracker, pool)
    tell(pool, 1)
    mirror.start()
    assert tracker.reached.wait(10)
    tell(pool, 2)
    mirror.notify()
    while pool.unsent():
        mirror.notify()
    assert mirror.close(10) == 0
    assert [m.payload["step"] for m in tracker.sent] == [1, 2]


def test_a_tracker_that_stays_down_keeps_nobody_waiting_and_loses_nothing(pool: Pool) -> None:
    mirror = mirror_to(Remembering(down=10**9), pool)
    tell(pool, 1)
    mirror.start()
    assert mirror.close(10) == 1
    assert [m.payload["step"] for _, m in pool.unsent()] == [1]


def test_a_report_is_rendered_before_it_is_sent(pool: Pool) -> None:
    rendered: list[int | None] = []
    mirror = mirror_to(Remembering(), pool, rendered)
    with pool.commit() as entry:
        entry.tell("artifacts", {"folder": "round-002/report", "to": "round-002", "round": 2})
        entry.tell("artifacts", {"folder": "protocol", "to": "protocol"})
    mirror.start()
    assert mirror.close(10) == 0
    assert rendered == [2, None]


@pytest.mark.parametrize(("tracker", "expected"), [(Remembering(), [1]), (Blind(), [])])
def test_only_what_somebody_looks_at_is_rendered(
    pool: Pool, tracker: Remembering, expected: list[int]
) -> None:
    rendered: list[int | None] = []
    mirror = mirror_to(tracker, pool, rendered)
    with pool.commit() as entry:
        entry.tell("artifacts", {"folder": "round-001/report", "to": "round-001", "round": 1})
    mirror.start()
    assert mirror.close(10) == 0
    assert rendered == expected
    assert [message.kind for message in tracker.sent] == ["artifacts"]
