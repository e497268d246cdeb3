"""Strategies compared: paired by seed, regime by regime."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from al_orchestrator.errors import ConfigError
from al_orchestrator.metric_names import lower_is_better
from al_orchestrator.reports.cells import Cell, build_cell
from al_orchestrator.reports.curves import RunCurve
from al_orchestrator.reports.penalty import Penalty, penalty_matrix
from al_orchestrator.reports.verdicts import REGIMES_FOR_A_WIN, overall_verdict

CellKey = tuple[str, int, int, str]

EXPECTED = ("random", "margin", "entropy", "badge", "coreset")
"""Strategies a comparison should hold; those that are missing are named."""


@dataclass(frozen=True)
class Comparison:
    """Cells, and over all of them one verdict for each group."""

    metric: str
    lower_is_better: bool
    cells: tuple[Cell, ...]
    verdicts: Mapping[str, str]
    notes: tuple[str, ...]
    penalty: Penalty
    marks: tuple[str, ...] = ()
    """What was done against the protocol, on purpose; stands on every table, figure and page."""

    @property
    def watermark(self) -> str:
        """The marks in one line; empty where there are none."""
        return "; ".join(self.marks)

    @property
    def groups(self) -> tuple[str, ...]:
        """All of them, in order of name."""
        return self.penalty.groups

    def to_json(self) -> dict[str, object]:
        """Plain values that `json.dumps` takes."""
        return asdict(self)


def compare(runs: Sequence[RunCurve], metric: str, *, baseline: str | None = None) -> Comparison:
    """Compares groups of runs by one metric; runs of different regimes are never averaged.

    A regime is a dataset, a number of labels to start with and a batch size; a cell is a regime and
    what else its runs have in common, `RunCurve.setting`.

    Args:
        runs: In any order; the answer does not depend on it.
        metric: A name that every run has.
        baseline: The group others are compared with; by default the random one of each regime.

    Raises:
        ConfigError: There is no run, a run lacks the metric, two runs of a group share a seed, or
            no group is called `baseline`.
    """
    if not runs:
        raise ConfigError("there is no run to compare; name at least one")
    groups = sorted({run.group for run in runs})
    if baseline is not None and baseline not in groups:
        raise ConfigError(f"no group is called {baseline!r}; there are {', '.join(groups)}")
    found, too_short = _cells(runs)
    cells = tuple(
        build_cell(members, start=start, step=step, metric=metric, baseline=baseline)
        for (_, start, step, _), members in sorted(found.items())
    )
    return Comparison(
        metric=metric,
        lower_is_better=lower_is_better(metric),
        cells=cells,
        verdicts={group: _verdict(group, cells, metric) for group in groups},
        notes=(*_missing(runs), *too_short, *_too_few(cells)),
        penalty=penalty_matrix([run for members in found.values() for run in members], metric),
        marks=tuple(sorted({mark for run in runs for mark in run.marks})),
    )


def _cells(
    runs: Sequence[RunCurve],
) -> tuple[dict[CellKey, list[RunCurve]], list[str]]:
    """Runs by their cell, and a note on those too short to tell their step."""
    cells: dict[CellKey, list[RunCurve]] = defaultdict(list)
    for run in runs:
        cells[run.cell].append(run)
    with_steps = {(dataset, start, setting) for dataset, start, step, setting in cells if step}
    notes = []
    for dataset, start, setting in sorted(with_steps):
        short = cells.pop((dataset, start, 0, setting), [])
        if short:
            names = ", ".join(sorted(run.run for run in short))
            notes.append(f"left out, because one round is not a curve: {names}")
    return cells, notes


def _missing(runs: Sequence[RunCurve]) -> list[str]:
    present = {run.strategy for run in runs}
    missing = [name for name in EXPECTED if name not in present]
    return [f"not among the runs: {', '.join(missing)}"] if missing else []


def _too_few(cells: Sequence[Cell]) -> list[str]:
    regimes = {cell.regime for cell in cells}
    if len(regimes) >= REGIMES_FOR_A_WIN:
        return []
    return [f"a win takes {REGIMES_FOR_A_WIN} regimes; this is {len(regimes)}"]


def _verdict(group: str, cells: Sequence[Cell], metric: str) -> str:
    rows = [(cell, row) for cell in cells for row in cell.rows if row.group == group]
    if rows and all(cell.baseline == group for cell, _ in rows):
        return "baseline"
    compared = [(cell.regime, row.difference) for cell, row in rows if row.difference is not None]
    return overall_verdict(
        [difference.interval for _, difference in compared],
        lower=lower_is_better(metric),
        regimes=[regime for regime, _ in compared],
    )
