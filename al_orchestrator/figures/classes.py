"""Figures whose axes are classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from al_orchestrator.figures.canvas import INK, drawing, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PAPER_TO_BLUE = ("#ffffff", "#dbe9f6", "#9cc3e6", "#4a8fc7", "#1c5a94", "#0b2f57")
_BAR = "#4a8fc7"
_MOST_CLASSES_WITH_NUMBERS = 20


def confusion_matrix(counts: npt.NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Writes a confusion matrix: the colour is the share of the true class, the number the count.

    Args:
        counts: (C, C), rows true classes, columns predicted ones.
        classes: (C,) names.
        path: A `.png` or `.svg` file.

    Raises:
        ValueError: `counts` is not square, or does not fit `classes`.
    """
    size = len(classes)
    if counts.shape != (size, size):
        raise ValueError(
            f"counts of shape {counts.shape} do not fit {size} classes; they must be "
            f"({size}, {size})"
        )
    from matplotlib.colors import LinearSegmentedColormap

    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]  # a class without images stays white
    side = 2.0 + 0.52 * size
    with drawing(path, width=side + 1.2, height=side) as (figure, axes):
        colours = LinearSegmentedColormap.from_list("paper to blue", _PAPER_TO_BLUE)
        image = axes.imshow(shares, cmap=colours, vmin=0.0, vmax=1.0)
        _name_classes(axes, classes, totals)
        if size <= _MOST_CLASSES_WITH_NUMBERS:
            _write_counts(axes, counts, shares)
        bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label("share of the true class")
        correct, total = int(np.trace(counts)), int(counts.sum())
        axes.set_title(f"{correct:,} of {total:,} right ({correct / max(total, 1):.1%})")


def _name_classes(axes: Axes, classes: Sequence[str], totals: npt.NDArray[np.int64]) -> None:
    size = len(classes)
    rows = [f"{name}  {total:,}" for name, total in zip(classes, totals, strict=True)]
    axes.set_xticks(range(size), classes, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), rows)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class and its images")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#eef1f4", linewidth=1.2)
    axes.tick_params(which="minor", length=0)


def _write_counts(
    axes: Axes, counts: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]
) -> None:
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else INK
        weight = "bold" if row == column else "normal"
        axes.text(
            column,
            row,
            f"{count:,}",
            ha="center",
            va="center",
            color=colour,
            weight=weight,
            fontsize=8.5,
        )


def class_histogram(counts: npt.NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Writes how many samples each class has, as bars in the order of the class map.

    Args:
        counts: (C,).
        classes: (C,) names.
        path: A `.png` or `.svg` file.

    Raises:
        ValueError: `counts` does not fit `classes`.
    """
    size = len(classes)
    if counts.shape != (size,):
        raise ValueError(
            f"counts of shape {counts.shape} do not fit {size} classes; they must be ({size},)"
        )
    total = int(counts.sum())
    with drawing(path, width=1.6 + 0.62 * size, height=3.2) as (_, axes):
        bars = axes.bar(range(size), counts, width=0.72, color=_BAR)
        shares = [f"{count:,}\n{count / max(total, 1):.0%}" for count in counts]
        axes.bar_label(bars, shares, padding=3, fontsize=8.5, linespacing=1.25)
        axes.set_xticks(range(size), classes, rotation=25, ha="right", rotation_mode="anchor")
        axes.set_ylabel("samples")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0, max(1.0, 1.22 * float(counts.max(initial=0))))
        axes.set_title(f"{total:,} samples in {size} classes")
        open_frame(axes)
