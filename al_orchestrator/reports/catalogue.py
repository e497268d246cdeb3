"""What there is to choose from, read off the components themselves."""

from __future__ import annotations

import inspect
import re
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

PARAGRAPHS = ("reference", "cost", "use", "differs")
"""What a strategy's docstring says in paragraphs that begin with these words."""


@dataclass(frozen=True)
class Entry:
    """One component as the catalogue shows it."""

    name: str
    idea: str  # the docstring's first line
    description: str  # the docstring, up to the first of `PARAGRAPHS`
    parameters: Mapping[str, str]  # field -> what it is, and its default


@dataclass(frozen=True)
class StrategyEntry(Entry):
    """A query strategy as the catalogue shows it."""

    needs: tuple[str, ...]  # with its default parameters
    reference: str
    cost: str
    use: str
    law: int  # its version
    differs: str  # from the reference; empty where it does not


def strategy_entries() -> list[StrategyEntry]:
    """Every query strategy, by name."""
    entries = [_strategy_entry(model) for model in _members(AnyStrategy)]
    return sorted(entries, key=lambda entry: entry.name)


def dataset_entries() -> list[Entry]:
    """Every kind of dataset, by name."""
    entries = [Entry(**_described(model)) for model in _members(AnyDataset)]
    return sorted(entries, key=lambda entry: entry.name)


def strategy_entry(name: str) -> StrategyEntry:
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


def _members(union: object) -> Sequence[type[BaseModel]]:
    (inner, *_) = get_args(union)  # Annotated[A | B, …]
    return get_args(inner) or (inner,)


def _strategy_entry(model: type[BaseModel]) -> StrategyEntry:
    described = _described(model)
    words = "|".join(PARAGRAPHS)
    head, *rest = re.split(rf"^({words}): ", described.pop("description"), flags=re.I | re.M)
    told = dict(zip(map(str.lower, rest[::2]), rest[1::2], strict=True))
    made = model()
    assert isinstance(made, QueryStrategy)  # the union holds nothing else
    return StrategyEntry(
        **described,
        description=head.strip(),
        needs=tuple(sorted(made.needs)),
        reference=_in_a_line(told.get("reference")),
        cost=_in_a_line(told.get("cost")),
        use=_in_a_line(told.get("use")),
        law=made.law,
        differs=_in_a_line(told.get("differs")),
    )


def _described(model: type[BaseModel]) -> dict[str, Any]:
    description = inspect.cleandoc(model.__doc__ or "")
    return {
        "name": model.model_fields["name"].default,
        "idea": description.split("\n", 1)[0].rstrip("."),
        "description": description,
        "parameters": {
            name: f"{_in_a_line(field.description)} (default {_shown(field.get_default())})"
            for name, field in model.model_fields.items()
            if name != "name"
        },
    }


def _in_a_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _shown(value: object) -> str:
    """A default as YAML would have it, roughly."""
    if isinstance(value, QueryStrategy):
        return value.name
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return "none" if value is None else str(value)
