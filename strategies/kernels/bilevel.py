"""One virtual step of the last layer for each pick, and the gradient that is left after it.

Of GLISTER (Killamsetty et al. 2021): a set of target samples whose loss is to fall. To pick a
sample is to take one step down its gradient; what the step does to the targets needs no training,
since the last layer is linear: their logits move by ``-step · a (<h, h_v> + 1)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import ExactPool, Points
from strategies.kernels.factored import SUM_ROWS, FactoredPool, FactoredRows, residuals_of


@dataclass(frozen=True, eq=False)
class Targets:
    """Samples whose loss a pick should lower, as the moving head sees them."""

    logits: Doubles  # (C, n) up to a constant a sample; moved in place
    labels: Rows  # (n,)
    embeddings: ExactPool

    @classmethod
    def of(cls, log_probs: Points, labels: Rows, embeddings: ExactPool) -> Targets:
        logits = np.asarray(log_probs).T.astype(np.float64, order="C", copy=True)
        return cls(logits, labels, embeddings)

    def __len__(self) -> int:
        return len(self.labels)

    def move(self, change: Doubles) -> None:
        """Adds to the last layer, (C, D + 1)."""
        weight, bias = change[:, :-1], change[:, -1:]

        def of_block(rows: slice) -> None:
            part = self.embeddings.block(rows)
            self.logits[:, rows] += (weight @ part.values.T) * part.scales + bias

        map_blocks(of_block, len(self), block_rows=SUM_ROWS)

    def gradient_sum(self, pick: FactoredRows | None = None, step: float = 0.0) -> Doubles:
        """The sum of the gradients, (C, D + 1), after a step down the gradient of `pick`."""

        def of_block(rows: slice) -> Doubles:
            part = self.embeddings.block(rows)
            if pick is not None:
                reach = part.products(pick.embeddings)[:, 0] + 1
                residual = pick.residuals.values[0] * (step * pick.residuals.scales[0])
                self.logits[:, rows] -= residual[:, None] * reach
            residuals = residuals_of(_log_softmax(self.logits[:, rows]).T, self.labels[rows]).T
            bias = residuals.sum(axis=1)[:, None]
            residuals *= part.scales
            return np.concatenate([residuals @ part.values, bias], axis=1)

        sums = map_blocks(of_block, len(self), block_rows=SUM_ROWS)
        total = np.zeros((len(self.logits), self.embeddings.points.shape[1] + 1))
        for part in sums:
            total += part
        return total


class Regulariser(Protocol):
    """What is added to the first-order gain of a pick."""

    def best(self, gains: Doubles, taken: Rows) -> tuple[int, float]:
        """The row to pick, not among `taken`, and its value, given the gains (N,)."""

    def add(self, row: int) -> None:
        """Told of each pick."""


@one_blas_thread()
def bilevel_greedy(
    pool: FactoredPool,
    targets: Sequence[Targets],
    count: int,
    *,
    step: float,
    regulariser: Regulariser,
) -> tuple[Rows, Doubles]:
    """Picks `count` rows, each the best for the targets after a step for every pick before it.

    The first-order gain of a sample is ``<g_i, G>``, G the mean gradient of the targets.

    Args:
        pool: The candidates' gradients, which stay as they are.
        targets: Groups of samples, together at least one; their logits are moved in place.
        count: Between 1 and N.
        step: The size of a step; with 0 the gain of a sample stays the same.
        regulariser: Chooses among the candidates, given their gains.

    Returns:
        Rows in order, and the regularised gain each had.
    """
    rows, values = np.empty(count, np.int64), np.empty(count)
    gains = pool.along(_mean_gradient(targets))
    for place in range(count):
        if place and step:
            gains = pool.along(_mean_gradient(targets, pool.at(rows[place - 1 : place]), step))
        rows[place], values[place] = regulariser.best(gains, rows[:place])
        regulariser.add(int(rows[place]))
    return rows, values


def _mean_gradient(
    targets: Sequence[Targets], pick: FactoredRows | None = None, step: float = 0.0
) -> Doubles:
    sums = [group.gradient_sum(pick, step) for group in targets]
    mean: Doubles = np.sum(sums, axis=0) / sum(len(group) for group in targets)
    return mean


def best_row(values: Doubles, taken: Rows) -> tuple[int, float]:
    """The row of the largest value that is not taken, the first of equals."""
    left = values.copy()
    left[taken] = -np.inf
    row = int(left.argmax())
    return row, float(values[row])


@dataclass(eq=False)
class NoRegulariser:
    """Nothing is added."""

    def best(self, gains: Doubles, taken: Rows) -> tuple[int, float]:
        return best_row(gains, taken)

    def add(self, row: int) -> None:
        """Nothing changes."""


@dataclass(eq=False)
class RandomShare:
    """Every so many picks is the next of a given order, whatever its gain."""

    order: Rows  # (N,) a permutation
    share: float  # of picks, in [0, 1]
    _place: int = 0
    _next: int = 0

    def best(self, gains: Doubles, taken: Rows) -> tuple[int, float]:
        # Spread evenly over the batch, so that a smaller batch is the beginning of a larger one.
        if int(self.share * (self._place + 1) + 1e-9) == int(self.share * self._place + 1e-9):
            return best_row(gains, taken)
        while self.order[self._next] in taken:
            self._next += 1
        row = int(self.order[self._next])
        return row, float(gains[row])

    def add(self, row: int) -> None:  # noqa: ARG002 - counts
        self._place += 1


@dataclass(eq=False)
class Crowding:
    """Takes off ``weight · Σ exp(-|g_i - g_s|² / 2)`` over the picks s before."""

    pool: FactoredPool
    weight: float
    _crowd: Doubles | None = None

    def best(self, gains: Doubles, taken: Rows) -> tuple[int, float]:
        if self._crowd is None:
            return best_row(gains, taken)
        return best_row(gains - self.weight * self._crowd, taken)

    def add(self, row: int) -> None:
        near = self.pool.similarities(self.pool.at(np.array([row])))[0]
        self._crowd = near if self._crowd is None else self._crowd + near


def _log_softmax(logits: Doubles) -> Doubles:
    """Of each column; -inf is a class ruled out."""
    largest, columns = logits.argmax(axis=0), np.arange(logits.shape[1])
    shifted: Doubles = logits - logits[largest, columns]
    # What the others add to the largest, whose share is 1: so that nothing is lost beside it.
    shares = np.exp(shifted)
    shares[largest, columns] = 0
    shifted -= np.log1p(shares.sum(axis=0))
    return shifted
