"""How runs stand, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from al_orchestrator.reports.runs import RunStatus
from al_orchestrator.reports.tables import round_table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def runs_table(statuses: Sequence[RunStatus]) -> Table:
    """A line for each run."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("run", "state", "strategy", "seed"):
        table.add_column(title)
    for title in ("rounds", "labels", "accuracy", "balanced"):
        table.add_column(title, justify="right")
    for each in statuses:
        metrics = next((r.metrics for r in reversed(each.rounds) if r.metrics), {})
        table.add_row(
            each.run,
            each.state,
            each.config.strategy.name,
            str(each.config.seed),
            str(len(each.rounds)),
            f"{each.labels:,}",
            *(_number(metrics.get(f"test/{name}")) for name in ("accuracy", "balanced_accuracy")),
        )
    return table


def run_details(status: RunStatus) -> Group:
    """Everything about one run that fits a screen."""
    from rich.console import Group

    spent = f"{status.labels:,} labels, and {status.validation:,} for validation"
    lines = [
        f"{status.run}: {status.state}, {status.config.strategy.name}, seed {status.config.seed}",
        f"spent {spent}; starts: {status.starts}, lost workers: {status.lost_workers}",
    ]
    lines += _particulars(status)
    times: dict[str, float] = {}
    for each in status.rounds:
        for stage, seconds in each.seconds.items():
            times[stage] = times.get(stage, 0.0) + seconds
    lines.append("time: " + ", ".join(f"{stage} {s:.1f} s" for stage, s in times.items()))
    return Group(*lines, round_table(status.rounds))


def _particulars(status: RunStatus) -> list[str]:
    """What is not so with every run."""
    lines = [f"not by the protocol: {'; '.join(status.marks)}"] if status.marks else []
    lines += [f"stopped: {status.stopped}"] if status.stopped else []
    if status.looked_at:
        lines.append(
            f"the seed set was balanced by looking at {status.looked_at:,} labels: "
            "not comparable with runs that did not"
        )
    if status.owner is not None:
        owner = status.owner
        lines.append(f"driven by process {owner.get('pid')} on {owner.get('host')}")
    if status.missing:
        lines.append(f"{status.missing} labels asked for and not answered")
    if status.unsent:
        lines.append(f"{status.unsent} messages the tracking server has not taken")
    if status.why:
        lines.append(f"last failure: {status.why}")
    return lines


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
