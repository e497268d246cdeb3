"""What a sweep's runs came to in the end, as bars: by one axis, and in colour by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from al_orchestrator.errors import ConfigError
from al_orchestrator.figures import Bar
from al_orchestrator.reports.curves import FINISHED
from al_orchestrator.reports.runs import RunStatus, status_of
from al_orchestrator.reports.statistics import t_interval
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps.plan import Plan, Trial
from al_orchestrator.sweeps.standing import standings


@dataclass(frozen=True)
class BarChart:
    """A bar for each option of an axis and each colour: mean and interval over seeds."""

    by: str  # the axis along the chart
    places: tuple[str, ...]  # its options
    colour: str  # the axis in colour, or "metric"
    colours: tuple[str, ...]  # its options, or the metrics
    metric: str  # what is measured; several are named together
    bars: tuple[tuple[Bar | None, ...], ...]  # by place, then colour; None: no run has finished
    labels: tuple[int, int]  # fewest and most labels that a run was measured with in the end
    left_out: int  # runs that have not finished
    marks: tuple[str, ...] = ()  # what was done against the protocol

    @property
    def measured(self) -> str:
        """What the bars measure, in a word where the metrics are of several sets."""
        words = dict.fromkeys(metric.rsplit("/", 1)[-1] for metric in self.metric.split(", "))
        return ", ".join(words) if self.colour == "metric" else self.metric

    @property
    def caption(self) -> str:
        fewest, most = self.labels
        labels = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
        marks = f"; not by the protocol: {'; '.join(self.marks)}" if self.marks else ""
        runs = [len(bar.values) for group in self.bars for bar in group if bar is not None]
        single = "; one run a bar, so no interval" if max(runs) == 1 else ""
        return f"after {labels} labels{single}{marks}"

    def to_json(self) -> dict[str, object]:
        """Plain values that `json.dumps` takes."""
        rows = [
            {self.by: place, self.colour: colour, **({} if bar is None else asdict(bar))}
            for place, group in zip(self.places, self.bars, strict=True)
            for colour, bar in zip(self.colours, group, strict=True)
        ]
        return {
            "metric": self.metric,
            "labels": list(self.labels),
            "left_out": self.left_out,
            "bars": rows,
        }


def bar_chart(
    plan: Plan,
    workspace: Workspace,
    *,
    by: str,
    colour: str | None = None,
    metrics: Sequence[str],
    only: Mapping[str, Sequence[str]] | None = None,
) -> BarChart:
    """Means of the finished runs' last rounds, with 95 % t intervals over seeds.

    Args:
        plan: The sweep.
        workspace: Of its runs.
        by: The axis whose options stand beside each other.
        colour: The axis whose options are told apart by colour; without it the metrics are.
        metrics: One, or without `colour` several.
        only: Options of axes that are drawn; by default all.

    Raises:
        ConfigError: There is no such axis or option, an axis varies that is not drawn, a run lacks
            a metric, or no run has finished.
    """
    only = only or {}
    _check_axes(plan, [by, *([colour] if colour else []), *only])
    options = {axis: _options(plan, axis, only.get(axis)) for axis in plan.axes}
    for axis, kept in options.items():
        if axis not in {by, colour} and len(kept) > 1:
            raise ConfigError(
                f"axis {axis} of sweep {plan.name} varies, too: draw one of its options, "
                f"--only {axis}={kept[0]}, or all of them in colour, --colour {axis}"
            )
    if by == colour or (colour is not None and len(metrics) > 1) or not metrics:
        raise ConfigError("colours are the options of another axis, or several metrics; not both")
    chosen = [t for t in plan.trials if all(t.options[a] in kept for a, kept in options.items())]
    done = _finished(workspace, chosen)
    if not done:
        raise ConfigError(f"no run of sweep {plan.name} that is to be drawn has finished")
    columns = metrics if colour is None else options[colour]
    bars = tuple(
        tuple(
            _bar(
                [s for t, s in done if t.options[by] == place and _has(t, colour, column)],
                column if colour is None else metrics[0],
            )
            for column in columns
        )
        for place in options[by]
    )
    ends = [status.rounds[-1].labelled for _, status in done]
    return BarChart(
        by=by,
        places=options[by],
        colour=colour or "metric",
        colours=tuple(columns),
        metric=", ".join(metrics),
        bars=bars,
        labels=(min(ends), max(ends)),
        left_out=len(chosen) - len(done),
        marks=tuple(sorted({mark for _, status in done for mark in status.marks})),
    )


def _check_axes(plan: Plan, axes: Sequence[str]) -> None:
    for axis in axes:
        if axis not in plan.axes:
            raise ConfigError(
                f"sweep {plan.name} has no axis {axis!r}; it has {', '.join(plan.axes) or 'none'}"
            )


def _options(plan: Plan, axis: str, kept: Sequence[str] | None) -> tuple[str, ...]:
    """Those that are drawn, in the order of the sweep, or as they are asked for."""
    there = plan.axes[axis]
    for option in kept or ():
        if option not in there:
            raise ConfigError(
                f"axis {axis} of sweep {plan.name} has no option {option!r}; it has "
                f"{', '.join(there)}"
            )
    return tuple(dict.fromkeys(kept)) if kept else there


def _finished(workspace: Workspace, trials: Sequence[Trial]) -> list[tuple[Trial, RunStatus]]:
    return [
        (each.trial, status_of(workspace.run(each.trial.name)))
        for each in standings(workspace, trials)
        if each.state == FINISHED
    ]


def _has(trial: Trial, colour: str | None, option: str) -> bool:
    return colour is None or trial.options[colour] == option


def _bar(runs: Sequence[RunStatus], metric: str) -> Bar | None:
    """What the runs of one bar, which differ by seed only, measured in their last rounds."""
    if not runs:
        return None
    values = []
    for run in runs:
        measured = run.rounds[-1].metrics
        if metric not in measured:
            raise ConfigError(
                f"run {run.run} has no metric {metric!r}; it has {', '.join(sorted(measured))}"
            )
        values.append(measured[metric])
    interval = t_interval(values)
    return Bar(interval.mean, interval.low, interval.high, tuple(values))
