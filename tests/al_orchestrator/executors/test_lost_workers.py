"""A lost worker's story in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from al_orchestrator.executors.lost_workers import cause_of_death, last_words

# The list of common causes closes many of Ray's reports and must decide nothing.
COMMON = (
    "Some common causes include: (1) the process was killed by the OOM killer due to high memory"
)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (
            f"Worker unexpectedly exits with a connection error code 2. End of file. {COMMON}",
            "it crashed, or was killed (for want of memory, or by hand)",
        ),
        (
            "Worker exits unexpectedly. Worker exits with an exit code 3.",
            "it ended itself with exit code 3",
        ),
        (
            f"Task was killed due to the node running low on memory. End of file. {COMMON}",
            "stopped by Ray because its machine ran out of memory",
        ),
        ("The actor is dead because its node has died. Node Id: 7", "its machine is gone"),
        ("Something new\nand its details", "Something new"),
    ],
)
def test_ray_s_report_is_put_in_plain_words(report: str, words: str) -> None:
    assert cause_of_death(report) == words


def test_last_words_are_the_last_twenty_lines_of_this_call(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("of an earlier call\n" + "".join(f"line {n}\n" for n in range(1, 31)))
    told = last_words(log, start=len("of an earlier call\n")).splitlines()
    assert told == ["last lines of its log:", *(f"line {n}" for n in range(11, 31))]


def test_a_long_log_is_read_from_near_its_end(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("x" * 1_000_000 + "\nlast line")
    told = last_words(log, start=0)
    assert told.endswith("\nlast line")
    assert len(told) < 20_000


def test_who_said_nothing_has_no_last_words(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("of an earlier call\n")
    assert last_words(log, start=log.stat().st_size) == ""
