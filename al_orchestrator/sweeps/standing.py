"""How the runs of a sweep stand, by their ledgers, and what the rest will cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from al_orchestrator.config import differences
from al_orchestrator.errors import AloError
from al_orchestrator.executors.placement import usable_cores
from al_orchestrator.reports.runs import RunStatus, State, status_of
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps.plan import Trial


@dataclass(frozen=True)
class Standing:
    """One run of a sweep at this moment."""

    trial: Trial
    state: State | Literal["new", "unreadable"]
    labels: int = 0  # answered so far
    rounds: int = 0  # measured so far
    seconds: float = 0.0  # of work, so far
    why: str = ""  # it failed, or cannot be read

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left for a sweep to do."""
        return self.state in {"finished", "waiting", "running", "unreadable"}

    def to_json(self) -> dict[str, object]:
        """Plain values that `json.dumps` takes."""
        return {
            "run": self.trial.name,
            "options": dict(self.trial.options),
            "seed": self.trial.seed,
            "state": self.state,
            "labels": self.labels,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 1),
            "why": self.why,
        }


def standings(workspace: Workspace, trials: Sequence[Trial]) -> list[Standing]:
    """How each run stands; looking changes nothing."""
    return [_standing(workspace, trial) for trial in trials]


def _standing(workspace: Workspace, trial: Trial) -> Standing:
    run = workspace.run(trial.name)
    if not run.has_ledger:
        return Standing(trial, "new")
    try:
        status = status_of(run)
    except AloError as error:
        return Standing(trial, "unreadable", why=str(error))
    lines = differences(status.config, trial.config)
    if lines:
        return Standing(trial, "unreadable", why="\n".join(["it is another experiment:", *lines]))
    return Standing(
        trial,
        _with_limits(status, trial),
        labels=status.labels,
        rounds=sum(bool(r.metrics) for r in status.rounds),
        seconds=sum(sum(r.seconds.values()) for r in status.rounds),
        why=status.why,
    )


def _with_limits(status: RunStatus, trial: Trial) -> State:
    """A finished run whose budget or stopping rules the sweep has changed since may go on."""
    old, new = status.config, trial.config
    is_changed = (old.budget, old.stop) != (new.budget, new.stop)
    return "interrupted" if status.state == "finished" and is_changed else status.state


def remaining_seconds(found: Sequence[Standing]) -> float | None:
    """Of work that is left, by the mean of the finished runs with the same options.

    None where no run has finished yet.
    """
    finished = [each for each in found if each.state == "finished"]
    if not finished:
        return None
    overall = sum(each.seconds for each in finished) / len(finished)
    by_options: dict[tuple[str, ...], list[float]] = {}
    for each in finished:
        by_options.setdefault(_options(each.trial.options), []).append(each.seconds)
    means = {options: sum(s) / len(s) for options, s in by_options.items()}
    return sum(
        max(0.0, means.get(_options(each.trial.options), overall) - each.seconds)
        for each in found
        if not each.is_over
    )


def at_once(trials: Sequence[Trial]) -> int:
    """Runs that fit on this machine beside each other."""
    resources = trials[0].config.resources.beside_others()
    workers = resources.workers if trials[0].config.executor == "ray" else 1
    cores = usable_cores()
    return max(1, math.floor(cores / ((resources.cpus_per_worker or 1) * workers)))


def _options(options: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(options.values())
