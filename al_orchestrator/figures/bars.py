"""Bars in groups: one metric, by one thing along the axis and by another in colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from al_orchestrator.figures.canvas import INK, drawing, open_frame
from al_orchestrator.figures.curves import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUP = 0.82  # width of a group of bars; the rest is the gap to the next


@dataclass(frozen=True)
class Bar:
    """The mean of some runs, an interval where there is one, and the runs themselves."""

    mean: float
    low: float | None = None  # None where one run allows no interval
    high: float | None = None
    values: tuple[float, ...] = ()


def grouped_bars(
    bars: Sequence[Sequence[Bar | None]],
    places: Sequence[str],
    colours: Sequence[str],
    path: Path,
    *,
    metric: str,
    title: str = "",
) -> None:
    """Writes a group of bars for each place, from 0, each colour where it is in all groups.

    Args:
        bars: One sequence for each place, in it one bar for each colour; None leaves a gap.
        places: Names along the axis.
        colours: Names in the legend, which is left out where there is one.
        path: A `.png` or `.svg` file.
        metric: The name of the vertical axis.
        title: Stands above the axes.

    Raises:
        ValueError: There is nothing to draw, or `bars` does not fit the names.
    """
    shape = [len(colours)] * len(places)
    if not places or not colours or [len(group) for group in bars] != shape:
        raise ValueError(
            f"groups of {[len(group) for group in bars]} bars do not fit {len(places)} places and "
            f"{len(colours)} colours; give each place one bar a colour"
        )
    from matplotlib.patches import Patch

    width = _GROUP / len(colours)
    inches = max(5.0, 1.4 + len(places) * max(0.75, 0.46 * len(colours)))
    with drawing(path, width=inches, height=4.0) as (_, axes):
        for number in range(len(colours)):
            centres = [p + (number - (len(colours) - 1) / 2) * width for p in range(len(places))]
            column = [group[number] for group in bars]
            _draw(axes, centres, column, width, _colour(number))
        several = any(bar is not None and bar.low is not None for group in bars for bar in group)
        axes.set_xticks(range(len(places)), places)
        axes.tick_params(axis="x", rotation=25 if max(map(len, places)) > 9 else 0)
        axes.set_xlim(-0.5, len(places) - 0.5)
        axes.set_ylabel(metric + "\n(mean, 95 % interval, runs)" * several)
        axes.set_title(title)
        axes.margins(y=0.14)
        if len(colours) > 1:
            axes.margins(y=0.3)
            handles = [Patch(color=_colour(n), label=name) for n, name in enumerate(colours)]
            axes.legend(
                handles=handles, frameon=False, ncols=min(len(colours), 4), loc="upper left"
            )
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        open_frame(axes)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _draw(
    axes: Axes,
    centres: Sequence[float],
    bars: Sequence[Bar | None],
    width: float,
    colour: str,
) -> None:
    for centre, bar in zip(centres, bars, strict=True):
        if bar is None:
            continue
        axes.bar([centre], [bar.mean], width=0.92 * width, color=colour)
        top = bar.mean
        if bar.low is not None and bar.high is not None:
            errors = [[bar.mean - bar.low], [bar.high - bar.mean]]
            axes.errorbar([centre], [bar.mean], yerr=errors, color=INK, linewidth=1.0, capsize=2.5)
            top = bar.high
        if len(bar.values) > 1:
            at = [centre] * len(bar.values)
            axes.scatter(at, bar.values, s=7, color="white", edgecolor=INK, linewidth=0.5, zorder=4)
            top = max(top, *bar.values)
        axes.annotate(
            f"{bar.mean:.3f}",
            (centre, top),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
