"""What stands behind a comparison: recall of each class, what it cost, who asked for the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from al_orchestrator.reports.cells import Cell
from al_orchestrator.reports.comparison import Comparison
from al_orchestrator.reports.curves import Background, RunCurve, aulc
from al_orchestrator.reports.health import Health, health_of
from al_orchestrator.reports.statistics import Interval, t_interval

STAGES = ("train", "score", "select")


@dataclass(frozen=True)
class Recalls:
    """Recall of each class on the test set, where the common range of labels ends."""

    group: str
    recalls: Mapping[str, Interval]  # by the class's name, over seeds


@dataclass(frozen=True)
class Cost:
    """What a run of a group took, in the mean over its runs."""

    group: str
    runs: int
    labels: float  # answered
    validation: float
    looked_at: float
    seconds: Mapping[str, float]  # wall time of each stage, all rounds together
    gpu_seconds: float  # of training and scoring


@dataclass(frozen=True)
class Overlap:
    """How far two groups asked for the same: size of the intersection over that of the union.

    Seed sets are not counted: they are the same for every strategy.
    """

    groups: tuple[str, ...]
    in_all: tuple[tuple[float | None, ...], ...]  # of all they asked for, mean over seeds
    by_round: Mapping[str, tuple[float, ...]]  # "one, other" -> of each batch, mean over seeds
    by_chance: float | None  # what two random draws of that size share, of a pool of this size


@dataclass(frozen=True)
class CellDetails:
    """Everything of one cell; a part is empty where nothing is on record."""

    title: str
    health: Health
    recalls: tuple[Recalls, ...]
    costs: tuple[Cost, ...]
    overlap: Overlap | None

    def to_json(self) -> dict[str, object]:
        """Plain values that `json.dumps` takes."""
        return asdict(self)


def details_of(comparison: Comparison, runs: Sequence[RunCurve]) -> tuple[CellDetails, ...]:
    """The details of each cell of the comparison of `runs`."""
    return tuple(
        _of_cell(cell, [run for run in runs if run.cell == cell.key], comparison.metric)
        for cell in comparison.cells
    )


def _of_cell(cell: Cell, runs: Sequence[RunCurve], metric: str) -> CellDetails:
    members: dict[str, list[RunCurve]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.seed):
        members[run.group].append(run)
    groups = [row.group for row in cell.rows]
    backgrounds = {
        group: [run.background for run in members[group] if run.background is not None]
        for group in groups
    }
    return CellDetails(
        title=cell.title,
        health=health_of(cell, runs, metric),
        recalls=tuple(
            Recalls(group, found)
            for group in groups
            if (found := _recalls(members[group], cell.high))
        ),
        costs=tuple(_cost(group, found) for group, found in backgrounds.items() if found),
        overlap=_overlap({group: members[group] for group in groups}),
    )


def _recalls(runs: Sequence[RunCurve], labels: int) -> dict[str, Interval]:
    """Of the classes that every run has measured."""
    first = runs[0].background
    if first is None:
        return {}
    found = {}
    for code, name in enumerate(first.classes):
        metric = f"test/recall/{code}"
        if all(metric in run.metrics for run in runs):
            ends = [aulc(r.labels, r.values(metric), low=labels, high=labels) for r in runs]
            found[name] = t_interval(ends)
    return found


def _cost(group: str, runs: Sequence[Background]) -> Cost:
    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    return Cost(
        group=group,
        runs=len(runs),
        labels=mean([run.labels for run in runs]),
        validation=mean([run.validation for run in runs]),
        looked_at=mean([run.looked_at for run in runs]),
        seconds={stage: mean([run.seconds.get(stage, 0.0) for run in runs]) for stage in STAGES},
        gpu_seconds=mean([run.gpu_seconds for run in runs]),
    )


def _overlap(members: Mapping[str, Sequence[RunCurve]]) -> Overlap | None:
    """None where fewer than two groups asked for anything after the seed set."""
    asked = {
        group: {
            run.seed: run.background
            for run in runs
            if run.background is not None and len(run.background.batches) > 1
        }
        for group, runs in members.items()
    }
    groups = tuple(group for group, runs in asked.items() if runs)
    if len(groups) < 2:
        return None
    in_all: dict[tuple[str, str], float | None] = {}
    by_round: dict[str, tuple[float, ...]] = {}
    for number, one in enumerate(groups):
        for other in groups[number + 1 :]:
            pairs = [(asked[one][s], asked[other][s]) for s in asked[one] if s in asked[other]]
            unions = [_jaccard(_after_seed_set(a), _after_seed_set(b)) for a, b in pairs]
            in_all[one, other] = in_all[other, one] = float(np.mean(unions)) if pairs else None
            rounds = min((min(len(a.batches), len(b.batches)) for a, b in pairs), default=1)
            by_round[f"{one}, {other}"] = tuple(
                float(np.mean([_jaccard(a.batches[r], b.batches[r]) for a, b in pairs]))
                for r in range(1, rounds)
            )
    return Overlap(
        groups=groups,
        in_all=tuple(tuple(in_all.get((a, b)) for b in groups) for a in groups),
        by_round=by_round,
        by_chance=_by_chance([each for runs in asked.values() for each in runs.values()]),
    )


def _after_seed_set(run: Background) -> frozenset[str]:
    return frozenset[str]().union(*run.batches[1:])


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def _by_chance(runs: Sequence[Background]) -> float | None:
    """Expected share of two independent draws without replacement, as the ratio of means."""
    sizes = {(run.pool - len(run.batches[0]), len(_after_seed_set(run))) for run in runs}
    if len(sizes) > 1:
        return None
    [(free, drawn)] = sizes
    if free <= 0:
        return None
    common = drawn * drawn / free
    return common / (2 * drawn - common)
