"""Curves of the runs that an MLflow experiment shows, for who has no workspace of theirs.

MLflow is a mirror: it has metrics and configurations, and neither samples nor states. Where the
ledgers are at hand, they tell more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_orchestrator.config.identity import OPERATIONAL
from al_orchestrator.errors import ConfigError
from al_orchestrator.reports.curves import FINISHED, RunCurve
from al_orchestrator.reports.groups import name_groups
from al_orchestrator.tracking import TrackedRun

_TOGETHER = 8
"""Characters of a run's key that tell two runs of one name apart."""


def curves_of_tracked(runs: Sequence[TrackedRun]) -> list[RunCurve]:
    """The curves of runs that have been measured at least once.

    Raises:
        ConfigError: None has.
    """
    measured = [run for run in runs if run.metrics]
    if not measured:
        raise ConfigError("no run of this experiment has been measured yet")
    fields = _in_common({_name(run): _identity(run) for run in measured})
    groups = name_groups(fields)
    return [_curve(run, groups[_name(run)]) for run in measured]


def _in_common(runs: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Without fields that a run lacks: its program was older, and had what is now the default."""
    shared = set.intersection(*(set(fields) for fields in runs.values()))
    return {
        run: {k: v for k, v in fields.items() if k in shared or k.startswith("strategy.")}
        for run, fields in runs.items()
    }


def _name(run: TrackedRun) -> str:
    """Unique: workspaces may share a server, and names of runs are unique in each."""
    return f"{run.name} ({run.tags.get('alo.run_key', '')[:_TOGETHER]})"


def _identity(run: TrackedRun) -> dict[str, object]:
    return {
        key: value
        for key, value in run.params.items()
        if not any(key == field or key.startswith(f"{field}.") for field in OPERATIONAL)
        and not key.startswith("stop")
    }


def _curve(run: TrackedRun, group: str) -> RunCurve:
    steps = sorted(set.intersection(*(set(values) for values in run.metrics.values())))
    if not steps:
        raise ConfigError(f"the metrics of run {run.name} have no label count in common")
    fingerprint = run.tags.get("alo.dataset_fingerprint", "")
    marks = run.tags.get("alo.marks", "")
    return RunCurve(
        run=_name(run),
        strategy=run.params["strategy.name"],
        seed=int(run.params["seed"]),
        dataset=f"{run.params['dataset.name']} {fingerprint[:6]}",
        group=group,
        labels=np.array(steps, dtype=np.int64),
        metrics={
            name: np.array([values[step] for step in steps]) for name, values in run.metrics.items()
        },
        state=FINISHED if run.is_finished else "not finished",
        marks=tuple(marks.split("; ")) if marks else (),
    )
