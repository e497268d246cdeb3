"""Calls side by side share a Ray for as long as somebody keeps it open."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from al_orchestrator.executors import (
    RaySettings,
    Resources,
    keeping_ray_open,
    run_side_by_side,
    trials,
)


@pytest.mark.ray
def test_what_is_kept_open_is_closed_at_its_end_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[int] = []

    def run_trials(function: object, tasks: Any, *given: Any, **_: object) -> None:
        until = given[-1]
        assert isinstance(until, ExitStack)
        until.callback(closed.append, tasks["number"])

    monkeypatch.setattr(trials, "run_trials", run_trials)

    def call(number: int) -> None:
        tasks, settings = {"number": number}, RaySettings()
        run_side_by_side(print, tasks, settings, Resources(), starts_workers=False, ended=print)

    call(1)
    assert closed == [1]
    with keeping_ray_open():
        call(2)
        with keeping_ray_open():  # a search keeps open what each of its sweeps would close
            call(3)
        assert closed == [1]
    assert closed == [1, 3, 2]
