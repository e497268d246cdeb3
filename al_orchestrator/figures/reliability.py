"""Reliability diagrams: how often a learner is right when it is so sure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from al_orchestrator.figures.canvas import FAINT, INK, drawing, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Doubles = npt.NDArray[np.float64]

_RIGHT = "#4a8fc7"
_GAP = "#d55e00"


def reliability_diagram(
    counts: npt.NDArray[np.int64],
    confidence: Doubles,
    accuracy: Doubles,
    path: Path,
    *,
    error: float,
) -> None:
    """Writes accuracy against confidence, bin by bin, and the number of samples in each.

    The axis of confidence is cut into as many equal bins as there are counts. A bar is as high as
    the accuracy of its bin; a mark stands at the bin's mean confidence, and the line between them
    is the gap. On the diagonal a learner is right as often as it says (Guo et al. 2017, arXiv
    1706.04599, figure 1).

    Args:
        counts: (K,) samples of a bin, bins ascending from 0 to 1.
        confidence: (K,) mean probability of the predicted class; not read where a bin is empty.
        accuracy: (K,) share that is right; not read where a bin is empty.
        path: A `.png` or `.svg` file.
        error: The expected calibration error, for the title.

    Raises:
        ValueError: The arrays are not of one length.
    """
    if not counts.shape == confidence.shape == accuracy.shape:
        raise ValueError(
            f"counts {counts.shape}, confidence {confidence.shape} and accuracy {accuracy.shape} "
            "must have one value a bin each"
        )
    with drawing(path, width=5.6, height=4.6) as (_, axes):
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        _draw_bins(axes, counts, confidence, accuracy)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.1)  # room for the number above a full bar
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.set_xlabel("confidence  (probability of the predicted class)")
        axes.set_ylabel("accuracy")
        axes.set_title(f"ECE {error:.4f} of {int(counts.sum()):,} images")
        open_frame(axes)
        if counts.any():
            axes.legend(frameon=False, loc="upper left", handlelength=1.6)


def _draw_bins(
    axes: Axes, counts: npt.NDArray[np.int64], confidence: Doubles, accuracy: Doubles
) -> None:
    filled = np.flatnonzero(counts)
    width = 1 / len(counts)
    middles, heights, sure = (filled + 0.5) * width, accuracy[filled], confidence[filled]
    axes.bar(middles, heights, width=0.92 * width, color=_RIGHT, label="accuracy", zorder=2)
    axes.vlines(sure, np.minimum(heights, sure), np.maximum(heights, sure), color=_GAP, zorder=3)
    axes.plot(sure, sure, "o", color=_GAP, markersize=4, label="mean confidence", zorder=4)
    for middle, height, mark, count in zip(middles, heights, sure, counts[filled], strict=True):
        top = max(height, mark)
        axes.text(middle, top + 0.02, f"{count:,}", ha="center", fontsize=7.5, color=INK)
