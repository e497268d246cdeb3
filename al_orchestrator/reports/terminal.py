"""A learning curve in characters, for the end of `alo run`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# A braille character is 4 dots high and 2 wide; these are the bits of its dots, row by row.
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_BRAILLE = 0x2800


def chart(
    labels: Sequence[int],
    values: Sequence[float],
    *,
    title: str,
    unit: str = "labels",
    width: int = 60,
    height: int = 12,
    is_plain: bool = False,
) -> str:
    """Draws `values` against `labels` as lines of text.

    Args:
        labels: (R,) ascending, at least one.
        values: (R,) finite.
        title: Stands above the chart.
        unit: What `labels` count.
        width: Of the drawing in characters, without the numbers to its left; at least 8.
        height: Of the drawing in lines; at least 2.
        is_plain: Uses ASCII only, one mark a character, for terminals without Unicode.

    Raises:
        ValueError: There is no point, or lengths differ.
    """
    if len(labels) == 0 or len(labels) != len(values):
        raise ValueError(
            f"{len(labels)} label counts and {len(values)} values; give one value for each of at "
            "least one round"
        )
    tall, wide = (1, 1) if is_plain else (4, 2)
    dots = _dots(np.asarray(labels), np.asarray(values), height * tall, width * wide)
    rows = _as_ascii(dots) if is_plain else _as_braille(dots)
    bottom, top = _span(np.asarray(values, dtype=np.float64))
    side = [""] * height
    side[0], side[-1] = f"{top:.3f}", f"{bottom:.3f}"
    margin = max(map(len, side))
    wall, corner, floor = ("|", "+", "-") if is_plain else ("│", "└", "─")
    first, last = f"{labels[0]:,}", f"{labels[-1]:,} {unit}"
    return "\n".join(
        [
            f"{title}: {values[0]:.4f} at {labels[0]:,}, {values[-1]:.4f} at {last}",
            *(f"{mark:>{margin}} {wall}{row}" for mark, row in zip(side, rows, strict=True)),
            f"{'':{margin}} {corner}{floor * width}",
            f"{'':{margin}}  {first} {last:>{max(1, width - len(first) - 1)}}",
        ]
    )


def _span(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Bottom and top of the chart; a level curve runs through the middle."""
    bottom, top = float(values.min()), float(values.max())
    return (bottom, top) if top > bottom else (bottom - 0.5, top + 0.5)


def _dots(
    labels: npt.NDArray[np.int64], values: npt.NDArray[np.float64], tall: int, wide: int
) -> npt.NDArray[np.bool_]:
    """(tall, wide), True where the line through the points passes; row 0 is the top."""
    bottom, top = _span(values)
    columns = np.linspace(labels[0], labels[-1], wide)
    heights = (np.interp(columns, labels, values) - bottom) / (top - bottom)
    rows = np.rint((1 - heights) * (tall - 1)).astype(int)
    dots = np.zeros((tall, wide), dtype=np.bool_)
    for column, row in enumerate(rows):
        before = rows[max(0, column - 1)]
        # From the row beside the last dot on, so that steep parts have no gaps.
        start = row if before == row else before + (1 if row > before else -1)
        dots[min(start, row) : max(start, row) + 1, column] = True
    return dots


def _as_braille(dots: npt.NDArray[np.bool_]) -> list[str]:
    tall, wide = dots.shape
    blocks = dots.reshape(tall // 4, 4, wide // 2, 2)  # line, dot row, character, dot column
    codes = _BRAILLE + (blocks * _DOTS[None, :, None, :]).sum(axis=(1, 3))
    return ["".join(map(chr, line)).rstrip(chr(_BRAILLE)) for line in codes]


def _as_ascii(dots: npt.NDArray[np.bool_]) -> list[str]:
    return ["".join("*" if dot else " " for dot in line).rstrip() for line in dots]
