"""One regime: the groups of runs that started alike and asked for batches of one size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from al_orchestrator.errors import ConfigError
from al_orchestrator.metric_names import lower_is_better
from al_orchestrator.reports.curves import (
    FINISHED,
    RunCurve,
    aulc,
    common_range,
    mean_over_rounds,
)
from al_orchestrator.reports.statistics import (
    Interval,
    holm,
    paired_p,
    smallest_visible_difference,
    t_interval,
)
from al_orchestrator.reports.targets import LabelsToTarget, labels_to_target
from al_orchestrator.reports.verdicts import verdict_in_cell


@dataclass(frozen=True)
class Difference:
    """AULC minus the baseline's, paired by seed."""

    interval: Interval
    p: float | None  # two-sided paired t test
    p_holm: float | None  # adjusted for all comparisons of the cell (Holm)
    smallest_visible: float | None  # the true difference these seeds find four times in five
    unpaired_seeds: tuple[int, ...]  # run for only one of the two, so left out


@dataclass(frozen=True)
class Row:
    """The runs of one group, which differ by seed only."""

    group: str
    strategy: str
    seeds: tuple[int, ...]
    final: Interval  # where the common range ends
    aulc: Interval
    mean_over_rounds: float
    difference: Difference | None  # None for the baseline, and without a seed in common
    to_target: LabelsToTarget | None  # the baseline's end; likewise
    verdict: str


@dataclass(frozen=True)
class Cell:
    """The groups of one regime, the baseline first."""

    dataset: str
    start: int  # labels of the first round
    step: int  # labels of one batch; 0 where there was one round only
    low: int  # the label counts that every run covers, from
    high: int  # and to
    baseline: str | None
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    setting: str = ""  # what all of them have in common beside the regime

    @property
    def title(self) -> str:
        regime = f"{self.dataset}: {self.start:,} labels, then {self.step:,} a round"
        return f"{regime}, {self.setting}" if self.setting else regime

    @property
    def has_intervals(self) -> bool:
        """Whether any of its groups was run with more than one seed."""
        return any(row.final.low is not None for row in self.rows)

    @property
    def regime(self) -> tuple[str, int, int]:
        return self.dataset, self.start, self.step

    @property
    def key(self) -> tuple[str, int, int, str]:
        """What `RunCurve.cell` of its runs is."""
        return self.dataset, self.start, self.step, self.setting


@dataclass(frozen=True)
class _Group:
    """Runs of one group by seed, and what each reached over the common range."""

    runs: Mapping[int, RunCurve]
    final: Mapping[int, float]
    aulc: Mapping[int, float]
    mean_over_rounds: float


def build_cell(
    runs: Sequence[RunCurve], *, start: int, step: int, metric: str, baseline: str | None
) -> Cell:
    """Computes the rows of one regime over the label counts its runs have in common.

    Args:
        runs: All of one dataset, start and step.
        start: Labels of the first round.
        step: Labels of one batch.
        metric: A name that every run has.
        baseline: The group to compare with; by default the random one.

    Raises:
        ConfigError: A run lacks the metric, or two runs of one group share a seed.
    """
    low, high = common_range(runs)
    groups = _group(runs, metric, low, high)
    reference = baseline if baseline in groups else None
    if baseline is None:
        reference = _random_group(runs)
    rows = [
        _row(name, groups[name], reference, groups.get(reference or ""), metric=metric, high=high)
        for name in sorted(groups, key=lambda name: (name != reference, name))
    ]
    return Cell(
        dataset=runs[0].dataset,
        start=start,
        step=step,
        low=low,
        high=high,
        baseline=reference,
        rows=tuple(_with_holm(rows)),
        notes=tuple(_notes(runs, high, reference)),
        setting=runs[0].setting,
    )


def _group(runs: Sequence[RunCurve], metric: str, low: int, high: int) -> dict[str, _Group]:
    by_seed: dict[str, dict[int, RunCurve]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.run):
        twin = by_seed[run.group].setdefault(run.seed, run)
        if twin is not run:
            raise ConfigError(
                f"runs {twin.run} and {run.run} are both {run.group} with seed {run.seed}, so a "
                "pair by seed is not unique; compare one of them"
            )
    return {name: _measure(members, metric, low, high) for name, members in by_seed.items()}


def _measure(runs: Mapping[int, RunCurve], metric: str, low: int, high: int) -> _Group:
    final, areas, means = {}, {}, []
    for seed, run in sorted(runs.items()):
        values = run.values(metric)
        final[seed] = aulc(run.labels, values, low=high, high=high)
        areas[seed] = aulc(run.labels, values, low=low, high=high)
        means.append(mean_over_rounds(values[(run.labels >= low) & (run.labels <= high)]))
    return _Group(runs, final, areas, sum(means) / len(means))


def _random_group(runs: Sequence[RunCurve]) -> str | None:
    """The only group that samples at random, or among several the one called so."""
    groups = sorted({run.group for run in runs if run.strategy == "random"})
    if len(groups) == 1:
        return groups[0]
    return "random" if "random" in groups else None


def _row(
    name: str,
    group: _Group,
    reference: str | None,
    baseline: _Group | None,
    *,
    metric: str,
    high: int,
) -> Row:
    difference = None if baseline is None or name == reference else _difference(group, baseline)
    interval = None if difference is None else difference.interval
    lower = lower_is_better(metric)
    target = None
    if baseline is not None and name != reference:
        target = labels_to_target(group.runs, baseline.runs, metric, high)
    return Row(
        group=name,
        strategy=next(iter(group.runs.values())).strategy,
        seeds=tuple(sorted(group.runs)),
        final=t_interval(list(group.final.values())),
        aulc=t_interval(list(group.aulc.values())),
        mean_over_rounds=group.mean_over_rounds,
        difference=difference,
        to_target=target,
        verdict=(
            "baseline" if name == reference else verdict_in_cell(interval, reference, lower=lower)
        ),
    )


def _difference(group: _Group, baseline: _Group) -> Difference | None:
    common = sorted(group.aulc.keys() & baseline.aulc.keys())
    if not common:
        return None
    differences = [group.aulc[seed] - baseline.aulc[seed] for seed in common]
    interval = t_interval(differences)
    return Difference(
        interval=interval,
        p=paired_p(differences),
        p_holm=None,
        smallest_visible=smallest_visible_difference(interval),
        unpaired_seeds=tuple(sorted(group.aulc.keys() ^ baseline.aulc.keys())),
    )


def _with_holm(rows: Sequence[Row]) -> list[Row]:
    """The same rows, their p values adjusted as one family."""
    tests = {r.group: r.difference for r in rows if r.difference is not None}
    adjusted = holm({group: test.p for group, test in tests.items() if test.p is not None})
    return [
        replace(row, difference=replace(tests[row.group], p_holm=adjusted[row.group]))
        if row.group in adjusted
        else row
        for row in rows
    ]


def _without_interval(runs: Sequence[RunCurve]) -> list[str]:
    seeds: dict[str, set[int]] = defaultdict(set)
    for run in runs:
        seeds[run.group].add(run.seed)
    single = sorted(group for group, of_it in seeds.items() if len(of_it) == 1)
    if not single:
        return []
    who = "every group" if len(single) == len(seeds) else ", ".join(single)
    return [
        f"one seed of {who}: no interval and no p value exist, so a difference may be chance; "
        "run more seeds"
    ]


def _notes(runs: Sequence[RunCurve], high: int, baseline: str | None) -> list[str]:
    notes = []
    if baseline is None:
        notes.append("no single random group to compare with; name one with a baseline")
    notes += _without_interval(runs)
    unfinished = sorted(f"{run.run} ({run.state})" for run in runs if run.state != FINISHED)
    if unfinished:
        notes.append(f"not finished: {', '.join(unfinished)}")
    furthest = max(int(run.labels[-1]) for run in runs)
    if high < furthest:
        shortest = sorted(run.run for run in runs if run.labels[-1] == high)
        notes.append(
            f"compared up to {high:,} of {furthest:,} labels, where {', '.join(shortest)} ends"
        )
    return notes
