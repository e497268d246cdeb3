"""What the YAML of `alo tune` says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    field_validator,
    model_validator,
)

from al_orchestrator.metric_names import is_of_test_set
from al_orchestrator.sweeps.searches import AnySearch, Random, Range, Rungs


class TuneConfig(BaseModel):
    """A search for fields of an experiment's trainer."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")
    """What the names of its runs begin with; by default the name of the YAML file."""
    base: Path
    """The experiment's YAML, relative to this file."""
    set: dict[str, Any] = {}
    """Fields of the experiment, dotted, that are not as in `base`."""
    space: Annotated[
        dict[str, Annotated[Range | list[Any], Field(union_mode="left_to_right")]],
        Field(min_length=1),
    ]
    """What is searched: fields `trainer.…`, each with a list of values or with `{low, high, log}`;
    a component's name stands for the component."""
    search: Annotated[AnySearch, Field(discriminator="name")] = Random()
    """How."""
    seeds: PositiveInt = 1
    """Runs of each setting, with the seeds 0, 1, …; their mean counts."""
    metric: str = "validation/balanced_accuracy"
    """What to search by, of the validation set."""

    @field_validator("space")
    @classmethod
    def _only_the_trainer(cls, space: dict[str, Range | list[Any]]) -> dict[str, Range | list[Any]]:
        for field, values in space.items():
            if not field.startswith("trainer."):
                raise ValueError(
                    f"{field} is not of the trainer; what is tuned has to serve every strategy and "
                    "budget alike"
                )
            if values == []:
                raise ValueError(f"{field} has no values; list some")
        return space

    @field_validator("metric")
    @classmethod
    def _the_test_set_decides_nothing(cls, metric: str) -> str:
        if is_of_test_set(metric):
            raise ValueError(
                f"{metric} is of the test set, which decides nothing; take validation/…"
            )
        return metric

    @model_validator(mode="after")
    def _a_grid_has_lists(self) -> TuneConfig:
        ranges = [field for field, values in self.space.items() if isinstance(values, Range)]
        if self.search.name == "grid" and ranges:
            raise ValueError(f"a grid needs lists, and {ranges[0]} is a range; list its values")
        if isinstance(self.search, Rungs) and self.search.field in self.space:
            raise ValueError(
                f"{self.search.field} is what effort is measured in; search it otherwise, or "
                "measure effort in another field"
            )
        return self
