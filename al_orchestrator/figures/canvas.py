"""What all figures share: one look, and files that are equal byte for byte when drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from al_orchestrator.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"
FAINT = "#9aa5b1"
GRID = "#e4e7eb"

SUFFIXES = (".png", ".svg")
_DOTS_AN_INCH = 160


@contextmanager
def drawing(path: Path, *, width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yields an empty figure of `width` x `height` inches; on a clean exit it stands at `path`.

    Raises:
        ValueError: The suffix of `path` is neither `.png` nor `.svg`.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path.name!r} must end in {' or '.join(SUFFIXES)}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _look():
        figure = Figure(figsize=(width, height), dpi=_DOTS_AN_INCH, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        yield figure, figure.subplots()
        # The version of matplotlib and the date would make equal figures differ.
        with replacing(path) as temporary:
            if path.suffix == ".png":  # `savefig` would draw twice, once for the layout alone
                canvas.print_png(temporary, metadata={"Software": None})  # type: ignore[no-untyped-call]
            else:
                figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def _look() -> AbstractContextManager[None]:
    """Sets matplotlib's defaults for the figures drawn inside."""
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "font.family": "DejaVu Sans",  # comes with matplotlib, so text is as wide everywhere
            "font.size": 9.5,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": INK,
            "axes.linewidth": 0.8,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlecolor": INK,
            "axes.axisbelow": True,
            "xtick.color": INK,
            "ytick.color": INK,
            "xtick.major.size": 0.0,
            "ytick.major.size": 0.0,
            "text.color": INK,
            "svg.hashsalt": "alo",  # else identifiers are random
            "svg.fonttype": "none",
        }
    )


def open_frame(axes: Axes) -> None:
    """Leaves the bottom line of the frame and a faint grid across."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
