"""How settings are searched for: what a search's YAML may say of it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

_FROZEN = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Range(BaseModel):
    """Numbers between two ends; whole ones if both ends are."""

    model_config = _FROZEN

    low: int | float
    """The least."""
    high: int | float
    """The largest."""
    log: bool = False
    """Draw the logarithm uniformly instead of the number."""

    @model_validator(mode="after")
    def _ends_are_in_order(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low > 0, and it is {self.low}")
        return self

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, u: float) -> int | float:
        """The number a share `u` of the way, 0 ≤ u < 1."""
        low, high = float(self.low), float(self.high) + (1 if self.is_whole else 0)
        if self.log:
            value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        else:
            value = low + u * (high - low)
        return min(int(value), int(self.high)) if self.is_whole else float(f"{value:.4g}")


class Grid(BaseModel):
    """Every combination of listed values."""

    model_config = _FROZEN

    name: Literal["grid"] = "grid"


class Random(BaseModel):
    """Values drawn independently (Bergstra & Bengio 2012, JMLR 13)."""

    model_config = _FROZEN

    name: Literal["random"] = "random"
    trials: PositiveInt = 20
    """Settings to try; more of them later keep the first ones."""
    seed: int = Field(default=0, ge=0)
    """Of the draws."""


class Rungs(BaseModel):
    """What every search has that gives few settings much effort and many settings little."""

    model_config = _FROZEN

    trials: int = Field(default=27, ge=2)
    """Settings to begin with."""
    factor: int = Field(default=3, ge=2)
    """One in so many goes on, with so many times the effort."""
    field: str = "trainer.epochs"
    """What effort is measured in: a whole number of the experiment."""
    seed: int = Field(default=0, ge=0)
    """Of the draws."""


class Halving(Rungs):
    """Successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943).

    All settings are tried with a small share of `field`, the best 1/factor of them with `factor`
    times as much, and so on; the last with the experiment's own. A rung waits for all its runs.
    """

    name: Literal["halving"] = "halving"


class Asha(Rungs):
    """Successive halving that waits for no rung (ASHA, Li et al. 2020, arXiv 1810.05934).

    As `halving`, but a setting goes on as soon as it is among the best 1/factor of those done so
    far, so that no worker idles. A run counts as lasting as long as its effort says, which makes
    the answer the same on every machine, and after every interruption.
    """

    name: Literal["asha"] = "asha"
    together: PositiveInt = 4
    """Settings under way at a time, whatever the machine has room for."""


class Suggested(BaseModel):
    """Values suggested by those before, with Optuna (Akiba et al. 2019, arXiv 1907.10902).

    `tpe` is the tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24). What it
    suggests follows from the seed and from what the runs before measured, in the order of the
    trials; so a search begun again asks for the same settings, finds their ledgers, and goes on.
    Needs the package `optuna`.
    """

    model_config = _FROZEN

    name: Literal["optuna"] = "optuna"
    sampler: Literal["tpe"] = "tpe"
    """Who suggests."""
    trials: PositiveInt = 20
    """Settings to try; more of them later keep the first ones."""
    startup: PositiveInt = 10
    """Settings drawn at random before the first suggestion."""
    together: PositiveInt = 1
    """Settings suggested at once, to be tried side by side: they do not know of each other."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the suggestions."""


AnySearch = Grid | Random | Halving | Asha | Suggested
