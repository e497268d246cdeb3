"""Asynchronous successive halving, with promotions that are the same on every machine.

Li et al. 2020 (MLSys 2, arXiv 1810.05934), algorithm 2. There a promotion depends on which runs
happen to be done when a worker is free, so a search that was killed and begun again may end in
another answer. Here a run lasts as long as its effort says, whatever the clock says: which runs are
done when a worker is free is then one function of the measured values, and the ledgers are enough
to go on from.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """One setting at one rung."""

    setting: int  # its place among the settings
    rung: int  # from 0


Measure = Callable[[Sequence[Job]], Sequence[float | None]]
"""Runs jobs side by side; what each came to, larger is better, None where nothing was measured."""


def promote_asynchronously(
    settings: int, efforts: Sequence[int], *, factor: int, together: int, measure: Measure
) -> dict[Job, float | None]:
    """Tries settings until none is left to begin with and none to promote.

    Whenever a worker is free, the best setting of a rung that is among the top 1/factor of those
    done there, and has not gone on yet, goes on, of the highest rung that has one; where none has,
    the next setting begins. Nothing waits for a rung to be complete.

    Args:
        settings: How many there are to begin with.
        efforts: Of the rungs, ascending; how long a run lasts.
        factor: One in so many goes on.
        together: Workers.
        measure: Asked for jobs that are under way and not measured yet, together at most.

    Returns:
        What every job came to, in the order they were done.
    """
    begun, clock = 0, 0
    promoted: set[Job] = set()
    done: dict[Job, float | None] = {}
    values: dict[Job, float | None] = {}
    running: list[tuple[int, int, Job]] = []  # ends at, number, job
    numbers = iter(range(2**62))
    while True:
        while len(running) < together:
            best = _promotable(done, promoted, len(efforts), factor)
            if best is not None:
                promoted.add(best)
                job = Job(best.setting, best.rung + 1)
            elif begun < settings:
                job, begun = Job(begun, 0), begun + 1
            else:
                break
            heapq.heappush(running, (clock + efforts[job.rung], next(numbers), job))
        if not running:
            return done
        new = [job for _, _, job in sorted(running) if job not in values]
        values |= dict(zip(new, measure(new), strict=True)) if new else {}
        clock, _, ended = heapq.heappop(running)
        done[ended] = values[ended]


def _promotable(
    done: dict[Job, float | None], promoted: set[Job], rungs: int, factor: int
) -> Job | None:
    """The best job that may go on, of the highest rung that has one."""
    for rung in reversed(range(rungs - 1)):
        there = [job for job in done if job.rung == rung]
        ranked = sorted(there, key=lambda job: (-_height(done[job]), job.setting))
        for job in ranked[: len(there) // factor]:
            if job not in promoted and done[job] is not None:
                return job
    return None


def _height(value: float | None) -> float:
    return -math.inf if value is None else value
