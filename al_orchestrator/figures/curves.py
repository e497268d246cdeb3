"""Learning curves: a metric against the number of labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from al_orchestrator.figures.canvas import INK, drawing, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Doubles = npt.NDArray[np.float64]

# Okabe and Ito's colours, told apart by colour-blind eyes too; yellow is left out as too faint.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
REFERENCE = "#6b7785"
_MARK_WIDTH = 26  # characters of a line of the mark, so that it stays within the figure


@dataclass(frozen=True, eq=False)
class Curve:
    """The mean of some runs, an interval where there is one, and the runs themselves."""

    name: str
    labels: Doubles  # (R,) ascending
    mean: Doubles  # (R,)
    low: Doubles | None = None  # (R,); None where one seed allows no interval
    high: Doubles | None = None
    runs: tuple[tuple[Doubles, Doubles], ...] = ()  # labels and values of each seed
    is_reference: bool = False  # drawn in grey and dashed, below the others


def learning_curves(
    curves: Sequence[Curve], path: Path, *, metric: str, title: str = "", mark: str = ""
) -> None:
    """Writes means as lines, intervals as bands and single seeds as thin lines.

    Args:
        curves: Drawn in this order, which also gives colours and markers.
        path: A `.png` or `.svg` file.
        metric: The name of the vertical axis.
        title: Stands above the axes.
        mark: Stands across the figure: what a reader must know before believing it.

    Raises:
        ValueError: There is no curve.
    """
    if not curves:
        raise ValueError("there is no curve to draw; give at least one")
    with drawing(path, width=7.0, height=4.4) as (figure, axes):
        colours = iter(COLOURS * (1 + len(curves) // len(COLOURS)))
        for number, curve in enumerate(curves):
            colour = REFERENCE if curve.is_reference else next(colours)
            _draw(axes, curve, colour, _MARKERS[number % len(_MARKERS)])
        has_bands = any(curve.low is not None for curve in curves)
        axes.set_xlabel("labels" + "  (band: 95 % interval of the mean)" * has_bands)
        axes.set_ylabel(metric)
        axes.set_title(title)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.margins(x=0.02)
        axes.legend(frameon=False, handlelength=2.2, labelspacing=0.35)
        open_frame(axes)
        if mark:
            figure.text(
                0.5,
                0.5,
                textwrap.fill(mark, _MARK_WIDTH),
                ha="center",
                va="center",
                rotation=25,
                fontsize=24,
                color=INK,
                alpha=0.12,
                weight="bold",
            )


def _draw(axes: Axes, curve: Curve, colour: str, marker: str) -> None:
    order = 2 if curve.is_reference else 3
    if len(curve.runs) > 1:
        for labels, values in curve.runs:
            axes.plot(labels, values, color=colour, linewidth=0.6, alpha=0.35, zorder=order - 1)
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            curve.labels, curve.low, curve.high, color=colour, alpha=0.14, linewidth=0, zorder=1
        )
    num_seeds = max(1, len(curve.runs))
    axes.plot(
        curve.labels,
        curve.mean,
        color=colour,
        linestyle="--" if curve.is_reference else "-",
        linewidth=1.9,
        marker=marker,
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=order,
        label=f"{curve.name}  ({num_seeds} seed{'s' if num_seeds > 1 else ''})",
    )
