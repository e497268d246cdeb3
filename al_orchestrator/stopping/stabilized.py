"""Stabilising predictions: a run ends when its models no longer change their minds."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field, PositiveInt
from typing_extensions import override

from al_orchestrator.stopping.base import Classes, Evidence, StoppingRule, StopSet


def kappa(first: Classes, second: Classes) -> float:
    """Cohen's kappa of two models on the same images: how far they agree beyond chance.

    Two models that both put everything into one class agree by chance alone, and kappa, 0/0 there,
    is taken as 0: a collapsed learner has not stabilised.

    Args:
        first: (S,) classes one model gave, at least one.
        second: (S,) classes the other one gave.
    """
    size = 1 + int(max(first.max(), second.max()))
    one, other = (np.bincount(each, minlength=size) / len(each) for each in (first, second))
    by_chance = float(one @ other)
    if by_chance >= 1.0:
        return 0.0
    return (float(np.mean(first == second)) - by_chance) / (1.0 - by_chance)


class Stabilized(StoppingRule):
    """Ends a run when successive models predict the same classes on a fixed stop set.

    The mean of Cohen's kappa between the models of successive rounds, over the last `rounds` pairs,
    has to reach `threshold`. No label of the stop set is read.

    Reference: Bloodgood & Vijay-Shanker 2009, "A method for stopping active learning based on
    stabilizing predictions and the need for user-adjustable stopping", CoNLL; its cutoff, window
    and size of the stop set are the defaults. Its stop set is kept out of training; here images of
    the pool may be labelled later on, which only makes models agree sooner.
    Cost: the stop set is predicted once a round.
    """

    name: Literal["stabilized"] = "stabilized"
    threshold: float = Field(default=0.99, gt=0, le=1)
    """What the mean kappa has to reach."""
    rounds: PositiveInt = 3
    """Pairs of successive models the mean is taken over."""
    stop_set: Literal["pool", "validation"] = "pool"
    """Where the stop set is drawn from."""
    size: PositiveInt = 2000
    """Images drawn; all of them if there are fewer."""

    @property
    @override
    def compares(self) -> tuple[StopSet, int]:
        return StopSet(self.stop_set, self.size), self.rounds + 1

    @override
    def reason(self, evidence: Evidence) -> str | None:
        stop_set, models = self.compares
        predicted = evidence.predicted.get(stop_set, ())[-models:]
        if len(predicted) < models:
            return None
        mean = float(np.mean([kappa(a, b) for a, b in pairwise(predicted)]))
        if mean < self.threshold:
            return None
        return (
            f"models agree with a mean kappa of {mean:.4f} over {self.rounds} rounds on "
            f"{len(predicted[-1]):,} images, at least {self.threshold:g}"
        )
