"""A strategy that asks for what the learner takes for the classes that have too few labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat
from typing_extensions import override

from strategies.base import (
    Candidates,
    Doubles,
    Picks,
    QueryStrategy,
    Rows,
    Signal,
    StrategyError,
)
from strategies.wrapping import Wrapper, choose_among, generators, in_turns


class ClassBalanced(Wrapper):
    """Steers another strategy towards the classes that have fewer labels than their share.

    Pick by pick, the class farthest below its share of all labels so far (the smaller class of
    equals) is served with the best candidate *predicted* as it; a class without candidates passes
    its turn. The strategy inside ranks the candidates of each predicted class among themselves,
    with a generator of their own; where all are predicted as one class, it is the strategy inside
    itself. The score is that of the strategy inside.

    Reference: the balancing step of Bengar et al. 2022, "Class-balanced active learning for image
    classification", https://arxiv.org/abs/2110.04543, without its optimisation program.
    Cost: that of the strategy inside on each predicted class.
    Use: with imbalanced classes, once the learner can tell the rare ones.
    Differs: a greedy rule on predicted classes instead of a linear program on probabilities. True
    labels of candidates are never seen.
    """

    name: Literal["class_balanced"] = "class_balanced"
    target: tuple[PositiveFloat, ...] | None = Field(default=None, min_length=1)
    """The share each class should have of all labels, in any unit; equal ones by default."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        return self.base.needs | {"log_probs", "labelled_labels"}

    @override
    def refusal(self, batch_size: int) -> str | None:
        return None

    @override
    def named(self, class_names: Sequence[str]) -> QueryStrategy:
        self._shares(len(class_names))
        return super().named(class_names)

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, labels = candidates.log_probs, candidates.labelled_labels
        assert log_probs is not None  # check_request saw that `needs` are given
        assert labels is not None
        num_classes = log_probs.shape[1]
        predicted = np.asarray(log_probs).argmax(axis=1)
        members = [np.flatnonzero(predicted == c) for c in range(num_classes)]
        sizes = np.array([len(rows) for rows in members])
        labelled = np.bincount(labels, minlength=num_classes).astype(np.int64)
        order = serve(self._shares(num_classes), labelled, sizes, batch_size)
        served = np.bincount(order, minlength=num_classes)
        present = np.flatnonzero(sizes)
        own = dict(zip(present.tolist(), generators(rng, len(present)), strict=True))
        parts = {
            c: choose_among(self.base, candidates, members[c], int(served[c]), own[c])
            for c in np.flatnonzero(served).tolist()
        }
        places = {c: place for place, c in enumerate(parts)}
        picks = in_turns(list(parts.values()), [places[c] for c in order])
        notes = {"predicted": sizes.tolist(), "asked_for": served.tolist()}
        return Picks(rows=picks.rows, scores=picks.scores, notes=notes)

    def _shares(self, num_classes: int) -> Doubles:
        target = self.target or (1.0,) * num_classes
        if len(target) != num_classes:
            raise StrategyError(
                f"class_balanced.target has {len(target)} shares for {num_classes} classes; "
                "give one for each class"
            )
        shares: Doubles = np.array(target, np.float64)
        return shares


def serve(shares: Doubles, labelled: Rows, available: Rows, count: int) -> list[int]:
    """The class that gives each of `count` picks: always the one farthest below its share.

    Shares may be in any unit; whole numbers are compared without rounding.
    """
    have, left = labelled.astype(np.int64), available.astype(np.int64)
    order: list[int] = []
    for _ in range(count):
        deficit = shares * (have.sum() + 1) - have * shares.sum()
        served = int(np.argmax(np.where(left > 0, deficit, -np.inf)))
        order.append(served)
        have[served] += 1
        left[served] -= 1
    return order
