"""What there is to choose from, read off the components themselves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from al_orchestrator.config import nearest
from al_orchestrator.datasets import AnyDataset, DatasetSummary
from al_orchestrator.errors import ConfigError
from strategies import AnyStrategy, QueryStrategy

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Entry:
    """One component as the catalogue shows it."""

    name: str
    idea: str  # the docstring's first line
    description: str  # the whole docstring
    needs: tuple[str, ...]
    parameters: Mapping[str, str]  # field -> what it is, and its default


def strategy_entries() -> list[Entry]:
    """Every query strategy, by name."""
    return _entries(AnyStrategy)


def dataset_entries() -> list[Entry]:
    """Every kind of dataset, by name."""
    return _entries(AnyDataset)


def strategy_entry(name: str) -> Entry:
    """The strategy called `name`.

    Raises:
        ConfigError: There is none; with the nearest name.
    """
    entries = {entry.name: entry for entry in strategy_entries()}
    if name not in entries:
        known = f"{', '.join(entries)}{nearest(name, entries)}"
        raise ConfigError(f"there is no strategy {name!r}; {known}")
    return entries[name]


def summary_table(summary: DatasetSummary) -> Table:
    """A dataset's classes and duplicates, for a terminal."""
    from rich.table import Table

    table = Table(title=f"{summary.images:,} images, fingerprint {summary.fingerprint[:12]}")
    table.add_column("class")
    for split in summary.counts:
        table.add_column(split, justify="right")
    for name in summary.classes:
        table.add_row(name, *(f"{counts[name]:,}" for counts in summary.counts.values()))
    table.add_section()
    for words, count in (
        ("repeat an earlier image", summary.repeats),
        ("of these under another label", summary.conflicting),
        ("val/test images that repeat a train image", summary.leaking),
        ("test images that repeat a val image", summary.shared),
        *((f"skipped: {reason}", count) for reason, count in summary.skipped.items()),
    ):
        table.add_row(words, f"{count:,}")
    return table


def _entries(union: object) -> list[Entry]:
    return sorted((_entry(model) for model in _members(union)), key=lambda entry: entry.name)


def _members(union: object) -> Sequence[type[BaseModel]]:
    (inner, *_) = get_args(union)  # Annotated[A | B, …]
    return get_args(inner) or (inner,)


def _entry(model: type[BaseModel]) -> Entry:
    description = inspect.cleandoc(model.__doc__ or "")
    needs = model.needs if issubclass(model, QueryStrategy) else frozenset[Any]()
    return Entry(
        name=model.model_fields["name"].default,
        idea=description.split("\n", 1)[0].rstrip("."),
        description=description,
        needs=tuple(sorted(needs)),
        parameters={
            name: f"{field.description or ''} (default {field.get_default()!r})"
            for name, field in model.model_fields.items()
            if name != "name"
        },
    )
