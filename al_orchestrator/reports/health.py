"""Rounds that look like accidents, and what a comparison says without them.

Suspects stay in the main table: whether a fit failed by accident or because of what was asked for
is for the reader to judge. Beside it stand medians, and differences without the pairs they are in.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_orchestrator.metric_names import lower_is_better
from al_orchestrator.reports.cells import Cell
from al_orchestrator.reports.curves import RunCurve, aulc
from al_orchestrator.reports.statistics import Interval, t_interval

FALL = 0.05
"""A fall of a share by this much, from one round to the next or below random's start, is suspect.

protocol.md calls it five points; metrics that are no shares are not judged by falls.
"""


@dataclass(frozen=True)
class Suspect:
    """A round that may have failed."""

    run: str
    group: str
    seed: int
    labels: int  # the round trained on
    why: str


@dataclass(frozen=True)
class Robust:
    """A group's AULC difference to the baseline, told so that single failures weigh little."""

    group: str
    median: float  # over the seeds in common
    without: Interval | None  # of the pairs without a suspect round; None where none is left
    left_out: tuple[int, ...]  # seeds of the others


@dataclass(frozen=True)
class Health:
    """The suspects of one cell; without any there is nothing more to tell."""

    suspects: tuple[Suspect, ...]
    rows: tuple[Robust, ...]


def health_of(cell: Cell, runs: Sequence[RunCurve], metric: str) -> Health:
    """Finds suspect rounds, and the differences without them.

    A round is suspect if its metric, a share, fell by `FALL` below the round before it or below the
    first round of the baseline with the same seed; or if training ended at its cap where the fits
    of this cell mostly end by their own rule.

    Args:
        cell: Of the comparison of `runs`.
        runs: The runs of the cell.
        metric: The one compared.
    """
    by_group: dict[str, dict[int, RunCurve]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: (run.group, run.seed)):
        by_group[run.group][run.seed] = run
    baseline = by_group.get(cell.baseline or "", {})
    rule_holds = _mostly_converged(runs)
    suspects = [
        suspect
        for group in by_group.values()
        for seed, run in group.items()
        for suspect in [
            *_falls(run, metric, baseline.get(seed)),
            *(_capped(run) if rule_holds else ()),
        ]
    ]
    if not suspects:
        return Health((), ())
    accused = {(suspect.group, suspect.seed) for suspect in suspects}
    rows = [
        robust
        for row in cell.rows
        if row.group != cell.baseline
        and (robust := _robust(row.group, by_group[row.group], baseline, cell, metric, accused))
    ]
    return Health(tuple(suspects), tuple(rows))


def _falls(run: RunCurve, metric: str, reference: RunCurve | None) -> list[Suspect]:
    values = run.values(metric)
    if lower_is_better(metric) or values.min() < 0 or values.max() > 1:
        return []
    floor = None if reference is None else float(reference.values(metric)[0])
    found = []
    for number, (labels, value) in enumerate(zip(run.labels.tolist(), values, strict=True)):
        before = float(values[number - 1]) if number else None
        if before is not None and before - value >= FALL:
            why = f"{value:.3f} after {before:.3f}"
        elif number and floor is not None and floor - value >= FALL:
            why = f"{value:.3f}, below the {floor:.3f} that the baseline began with"
        else:
            continue
        found.append(Suspect(run.run, run.group, run.seed, labels, why))
    return found


def _mostly_converged(runs: Sequence[RunCurve]) -> bool:
    known = [c for r in runs if r.background for c in r.background.converged if c is not None]
    return bool(known) and float(np.mean(known)) > 0.5


def _capped(run: RunCurve) -> list[Suspect]:
    if run.background is None:
        return []
    rounds = zip(run.labels.tolist(), run.background.converged, strict=True)
    why = "training ended at its cap"
    return [
        Suspect(run.run, run.group, run.seed, labels, why)
        for labels, converged in rounds
        if converged is False
    ]


def _robust(
    name: str,
    group: Mapping[int, RunCurve],
    baseline: Mapping[int, RunCurve],
    cell: Cell,
    metric: str,
    accused: set[tuple[str, int]],
) -> Robust | None:
    common = sorted(group.keys() & baseline.keys())
    if not common:
        return None

    def area(run: RunCurve) -> float:
        return aulc(run.labels, run.values(metric), low=cell.low, high=cell.high)

    differences = {seed: area(group[seed]) - area(baseline[seed]) for seed in common}
    names = (name, cell.baseline or "")
    left_out = tuple(seed for seed in common if any((each, seed) in accused for each in names))
    kept = [value for seed, value in differences.items() if seed not in left_out]
    return Robust(
        group=name,
        median=statistics.median(differences.values()),
        without=t_interval(kept) if kept else None,
        left_out=left_out,
    )
