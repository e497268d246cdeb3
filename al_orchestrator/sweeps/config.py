"""What a sweep's YAML may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

Options = list[Any] | dict[str, Any]
"""The values of an axis, or its values by the names they are to be called by."""

_RESERVED = frozenset({"name", "seed"})


class SweepConfig(BaseModel):
    """One experiment, varied along axes: every combination is a run of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")
    """What the names of its runs begin with; by default the name of the YAML file."""
    base: Path
    """The experiment's YAML, relative to this file."""
    set: dict[str, Any] = {}
    """Fields of the experiment, dotted, that are the same in all runs but not as in `base`."""
    axes: dict[str, Annotated[Options, Field(union_mode="left_to_right")]] = {}
    """What is varied. An axis called like a field of the experiment (`strategy`,
    `trainer.optimizer.lr`) lists its values; a component's name stands for the component. Any other
    axis maps the names of its options to the fields each of them sets."""
    seeds: PositiveInt | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = 5
    """The seeds each combination is run with, or how many, counted from 0."""

    @field_validator("axes")
    @classmethod
    def _axes_have_options(cls, axes: dict[str, Options]) -> dict[str, Options]:
        for name, options in axes.items():
            if not options:
                raise ValueError(f"axis {name} has no options; list some, or leave it out")
            if name in _RESERVED:
                raise ValueError(
                    f"{name} is not an axis: runs are named by the sweep, and seeds have a key of "
                    "their own, seeds"
                )
        return axes

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: int | list[int]) -> int | list[int]:
        if isinstance(seeds, list) and len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds {seeds} repeat themselves; list each once")
        return seeds

    @property
    def every_seed(self) -> list[int]:
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds
