"""The learning curves of a regime, drawn with their intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from al_orchestrator.errors import ConfigError
from al_orchestrator.figures import SUFFIXES, Curve, learning_curves
from al_orchestrator.reports.cells import Cell
from al_orchestrator.reports.comparison import Comparison
from al_orchestrator.reports.curves import RunCurve, common_range
from al_orchestrator.reports.statistics import t_interval

Doubles = npt.NDArray[np.float64]


def plot_cells(comparison: Comparison, runs: Sequence[RunCurve], path: Path) -> list[Path]:
    """Writes the curves of each regime and returns where: `path`, or one file beside it for each.

    What was done against the protocol stands across each figure.

    Raises:
        ConfigError: `path` ends in something else than `.png` or `.svg`.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path.name!r} must end in {' or '.join(SUFFIXES)}")
    written = []
    for cell in comparison.cells:
        parts = [str(part).replace(" ", "-") for part in cell.key if part != ""]
        regime = "-".join(["", *parts]) if len(comparison.cells) > 1 else ""
        target = path.with_name(f"{path.stem}{regime}{path.suffix}")
        plot_cell(cell, runs, target, metric=comparison.metric, mark=comparison.watermark)
        written.append(target)
    return written


def plot_cell(
    cell: Cell, runs: Sequence[RunCurve], path: Path, *, metric: str, mark: str = ""
) -> None:
    """Writes the cell's curves: means and intervals as far as all seeds of a group go.

    Args:
        cell: Of the comparison of `runs`; its groups are drawn in its order.
        runs: The runs of the cell, and perhaps others.
        path: A `.png` or `.svg` file.
        metric: The vertical axis.
        mark: Stands across the figure: what a reader must know before believing it.
    """
    members: dict[str, list[RunCurve]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.seed):
        if run.cell == cell.key:
            members[run.group].append(run)
    curves = [
        mean_curve(members[row.group], metric, is_reference=row.group == cell.baseline)
        for row in cell.rows
    ]
    learning_curves(curves, path, metric=metric, title=cell.title, mark=mark)


def mean_curve(runs: Sequence[RunCurve], metric: str, *, is_reference: bool = False) -> Curve:
    """Mean and 95 % t interval of one group over its seeds, at every label count of any of them.

    Raises:
        ConfigError: A run lacks the metric, or the runs have no label count in common.
    """
    low, high = common_range(runs)
    counts = np.unique(np.concatenate([run.labels for run in runs]))
    labels = counts[(counts >= low) & (counts <= high)].astype(np.float64)
    values = np.stack([np.interp(labels, run.labels, run.values(metric)) for run in runs])
    intervals = [t_interval(column) for column in values.T]
    return Curve(
        name=runs[0].group,
        labels=labels,
        mean=np.array([interval.mean for interval in intervals]),
        low=_ends([interval.low for interval in intervals]),
        high=_ends([interval.high for interval in intervals]),
        runs=tuple((run.labels.astype(np.float64), run.values(metric)) for run in runs),
        is_reference=is_reference,
    )


def _ends(ends: Sequence[float | None]) -> Doubles | None:
    known = [end for end in ends if end is not None]
    return np.array(known) if len(known) == len(ends) else None
