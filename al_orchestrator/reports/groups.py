"""What runs that are compared are called: the strategy, and whatever else tells them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

Fields = Mapping[str, object]
"""Dotted fields of an experiment, such as `strategy.name` and `trainer.optimizer.lr`."""


def name_groups(runs: Mapping[str, Fields]) -> dict[str, str]:
    """A name for each run's group, equal for runs that differ by seed or regime only.

    A strategy's own fields are told where runs of that strategy differ in them, other fields where
    any two runs differ.

    Args:
        runs: The fields of each run that make it what it is.
    """
    others = {
        run: {key: value for key, value in fields.items() if not _is_set_apart(key)}
        for run, fields in runs.items()
    }
    differing = _differing(list(others.values()))
    by_strategy: dict[str, list[Fields]] = defaultdict(list)
    for fields in runs.values():
        by_strategy[str(fields["strategy.name"])].append(_parameters(fields))
    return {
        run: " ".join(
            [
                str(fields["strategy.name"]),
                *_told(_parameters(fields), _differing(by_strategy[str(fields["strategy.name"])])),
                *(f"{key}={others[run].get(key)}" for key in differing),
            ]
        )
        for run, fields in runs.items()
    }


def _is_set_apart(field: str) -> bool:
    """Dataset and batch sizes make the regime; what is dropped of the pool does not."""
    if field.startswith("dataset."):
        return not field.startswith("dataset.duplicates.")
    return field == "seed" or field.startswith(("strategy.", "budget."))


def _parameters(fields: Fields) -> dict[str, object]:
    of_strategy = {
        key.removeprefix("strategy."): value
        for key, value in fields.items()
        if key.startswith("strategy.")
    }
    return {key: value for key, value in of_strategy.items() if key != "name"}


def _differing(several: list[Fields]) -> list[str]:
    keys = sorted({key for fields in several for key in fields})
    return [key for key in keys if len({repr(fields.get(key)) for fields in several}) > 1]


def _told(fields: Fields, keys: list[str]) -> list[str]:
    return [f"{key}={fields[key]}" for key in keys if key in fields]
