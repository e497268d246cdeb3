"""Asynchronous successive halving: who goes on, when, and the same each time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.sweeps.asha import Job, promote_asynchronously

EFFORTS = (1, 3, 9)


class Lab:
    """Measures jobs by a table, and remembers how many it was asked for at a time."""

    def __init__(self, heights: Sequence[float | None]) -> None:
        self.heights = heights
        self.asked: list[list[Job]] = []

    def __call__(self, jobs: Sequence[Job]) -> list[float | None]:
        self.asked.append(list(jobs))
        return [self.heights[job.setting] for job in jobs]


def search(
    heights: Sequence[float | None], *, together: int = 1
) -> tuple[dict[Job, float | None], Lab]:
    lab = Lab(heights)
    done = promote_asynchronously(len(heights), EFFORTS, factor=3, together=together, measure=lab)
    return done, lab


def test_one_worker_promotes_as_soon_as_a_third_is_done() -> None:
    done, _ = search([0.1, 0.5, 0.3, 0.9, 0.2, 0.4])
    assert list(done) == [
        *(Job(n, 0) for n in (0, 1, 2)),
        Job(1, 1),  # best of three, at once
        *(Job(n, 0) for n in (3,)),
        Job(3, 1),  # best of four, of which one may go on
        *(Job(n, 0) for n in (4, 5)),
    ]


def test_the_highest_rung_that_has_one_comes_first() -> None:
    heights = [float(n) for n in range(9)]
    done, _ = search(heights)
    order = list(done)
    top = [job for job in order if job.rung == 2]
    assert top  # three in rung 1 sufficed
    third_of_rung_one = [job for job in order if job.rung == 1][2]
    assert order[order.index(third_of_rung_one) + 1] == top[0]


def test_a_setting_that_failed_never_goes_on_and_fails_none() -> None:
    done, _ = search([None, None, None, 0.1, None, None])
    assert [job for job in done if job.rung == 1] == [Job(3, 1)]
    assert sum(job.rung == 0 for job in done) == 6


@given(
    st.lists(st.none() | st.integers(0, 5).map(float), min_size=2, max_size=30),
    st.integers(1, 6),
)
def test_promises(heights: list[float | None], together: int) -> None:
    done, lab = search(heights, together=together)
    # Every setting begins, every job is measured once, and no more than that at a time.
    assert {job.setting for job in done if job.rung == 0} == {*range(len(heights))}
    asked = [job for jobs in lab.asked for job in jobs]
    assert sorted(map(repr, asked)) == sorted(map(repr, done))
    assert max(map(len, lab.asked)) <= together
    # Who went on had been measured on the rung below, before.
    order = list(done)
    for job in order:
        if job.rung:
            below = Job(job.setting, job.rung - 1)
            assert order.index(below) < order.index(job)
            assert done[below] is not None
    # A rung never holds more than the one below it.
    for rung in range(len(EFFORTS) - 1):
        here = sum(job.rung == rung for job in order)
        assert sum(job.rung == rung + 1 for job in order) <= here
    # Begun again, it ends the same.
    assert search(heights, together=together)[0] == done


@pytest.mark.parametrize("together", [1, 4])
def test_the_best_of_many_reaches_the_top(together: int) -> None:
    heights = [float((7 * n) % 27) for n in range(27)]
    done, _ = search(heights, together=together)
    best = max(range(27), key=lambda n: heights[n])
    assert Job(best, 1) in done
    assert max((job for job in done if job.rung == 2), key=lambda job: heights[job.setting])
