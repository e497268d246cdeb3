"""How many labels a run may buy, and how many samples the next batch holds."""

from __future__ import annotations

import math
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator


class Budget(BaseModel):
    """How many labels are bought, and in what portions.

    A run ends at the first limit it reaches. Limits may grow on a later `alo run`; the rest may
    not change.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    initial: PositiveInt
    """Labels of the seed set, which round 0 trains on."""
    batch_size: PositiveInt
    """Labels asked for in a round."""
    rounds: PositiveInt | None = None
    """Trainings, round 0 among them; the last one asks for nothing."""
    total: PositiveInt | None = None
    """Labels in all, the seed set among them; the last batch is cut to fit."""
    fraction: float | None = Field(default=None, gt=0, le=1)
    """The same as a share of the pool."""

    @model_validator(mode="after")
    def _ends_somewhere(self) -> Self:
        if self.rounds is None and self.total is None and self.fraction is None:
            raise ValueError("give one of rounds, total or fraction: a budget must end somewhere")
        if self.total is not None and self.total < self.initial:
            raise ValueError(f"total ({self.total}) is less than initial ({self.initial})")
        return self

    def refusal(self, pool_size: int) -> str | None:
        """Why this budget does not fit a pool of this size, or None if it does."""
        if self.initial > pool_size:
            return f"budget.initial is {self.initial}, but the pool holds {pool_size} samples"
        if self.batch_size > pool_size:
            return f"budget.batch_size is {self.batch_size}, but the pool holds {pool_size} samples"
        if self.total is not None and self.total > pool_size:
            return f"budget.total is {self.total}, but the pool holds {pool_size} samples"
        if self.fraction is not None and self._share(pool_size) < self.initial:
            return (
                f"budget.fraction is {self.fraction}, that is {self._share(pool_size)} of "
                f"{pool_size} samples, less than budget.initial ({self.initial})"
            )
        if self.total is None and self.fraction is None and self.rounds is not None:
            wanted = self.initial + self.batch_size * (self.rounds - 1)
            if wanted > pool_size:
                return (
                    f"budget.rounds is {self.rounds}, that is {wanted} labels, but the pool holds "
                    f"{pool_size} samples"
                )
        return None

    def next_batch(self, *, number: int, spent: int, pool_size: int) -> int:
        """Size of the batch round `number` asks for after `spent` labels; 0 if it is the last."""
        if self.rounds is not None and number + 1 >= self.rounds:
            return 0
        return max(0, min(self.batch_size, self._limit(pool_size) - spent))

    def end(self, *, number: int, spent: int, pool_size: int) -> str | None:
        """The limit that round `number` has reached, in words; None if it asks for a batch."""
        if self.next_batch(number=number, spent=spent, pool_size=pool_size):
            return None
        if self.rounds is not None and number + 1 >= self.rounds:
            return f"budget: {self.rounds:,} round{'s' * (self.rounds > 1)}"
        if spent >= pool_size:
            return f"budget: all {pool_size:,} samples of the pool"
        if self.total is not None and spent >= self.total:
            return f"budget: {self.total:,} labels"
        return f"budget: {self.fraction:g} of the pool"

    def _limit(self, pool_size: int) -> int:
        total = pool_size if self.total is None else self.total
        share = pool_size if self.fraction is None else self._share(pool_size)
        return min(total, share, pool_size)

    def _share(self, pool_size: int) -> int:
        assert self.fraction is not None  # callers look first
        return math.floor(self.fraction * pool_size + 1e-9)

    def planned_rounds(self, pool_size: int) -> int:
        """Trainings in all, if nothing ends the run earlier."""
        number, spent = 0, self.initial
        while step := self.next_batch(number=number, spent=spent, pool_size=pool_size):
            number, spent = number + 1, spent + step
        return number + 1
