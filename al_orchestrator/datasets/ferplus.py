"""FER+: ten people's votes on every image of FER2013.

Barsoum et al. 2016, "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", ICMI, arXiv:1608.01041.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from al_orchestrator.errors import DatasetError

FERPLUS_CLASSES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
"""Class map of FER+, code -> name."""

_COLUMNS = (*FERPLUS_CLASSES, "unknown", "NF")
_NAMES = (*FERPLUS_CLASSES, "unknown expression", "not a face")


class NoMajority(ValueError):
    """The votes name no expression; `args[0]` says why, in one of few ways."""


def majority(votes: Sequence[int]) -> str:
    """The expression that more than half of the votes are for; single votes do not count.

    Args:
        votes: Ten counts: the eight expressions, unknown, not a face.

    Raises:
        NoMajority: No column has more than half, or one that is no expression has it.
    """
    if len(votes) != len(_COLUMNS) or min(votes) < 0:
        raise DatasetError(f"{list(votes)} are not ten counts of votes")
    counted = [count if count > 1 else 0 for count in votes]
    highest = max(counted)
    if 2 * highest <= sum(counted):
        raise NoMajority("FER+ votes without a majority")
    code = counted.index(highest)
    if code >= len(FERPLUS_CLASSES):
        raise NoMajority(f"FER+ votes for {_NAMES[code]}")
    return FERPLUS_CLASSES[code]


def expression_votes(votes: Sequence[int]) -> tuple[int, ...]:
    """The votes for the eight expressions alone; single votes do not count, as in `majority`."""
    return tuple(count if count > 1 else 0 for count in votes[: len(FERPLUS_CLASSES)])


def read_votes(path: Path) -> list[list[int]]:
    """The votes of `fer2013new.csv`, a row for each row of `fer2013.csv`.

    Raises:
        DatasetError: The file cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise DatasetError(f"{path} has no column {', '.join(missing)}")
            return [[int(row[name]) for name in _COLUMNS] for row in rows]
    except (OSError, csv.Error, UnicodeDecodeError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as FER+ votes: {error}") from error
