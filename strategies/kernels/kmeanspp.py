"""k-means++ seeding over gradients, exactly, without a pass over the pool for each pick.

Squared distances to the nearest centre only shrink, so old ones bound the new ones from above.
Proposals are drawn in proportion to the old ones and accepted with probability new/old, which needs
distances among the proposals alone. An accepted proposal has exactly the law of k-means++ given
all centres before it; a rejected one costs nothing but its draw. One matrix product then brings the
pool up to date with all centres accepted meanwhile.
"""

from __future__ import annotations

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import one_blas_thread
from strategies.kernels.gradients import Gradients

FEWEST_PROPOSALS, MOST_PROPOSALS = 8, 256


@one_blas_thread()
def seed_centres(
    gradients: Gradients, count: int, rng: np.random.Generator
) -> tuple[Rows, Doubles]:
    """`count` distinct rows seeded by k-means++, in order, with the weight each was drawn with.

    The first is the row of largest norm (the smallest such row); each later one is drawn in
    proportion to its squared distance to the nearest earlier one. Once all weights are zero, the
    rest is drawn uniformly from the rows not yet taken.

    Arthur & Vassilvitskii 2007, section 2.2, from a fixed first centre. Extra memory: some 30 bytes
    a row, and a few blocks of rows.

    Draws: per batch of k proposals one ``rng.random((k, 2))``, of which column 0 proposes and
    column 1 decides; k follows from the share accepted before and never from `count`, so a
    smaller count gives a prefix. The uniform rest is one ``rng.permutation``.
    """
    search = _Seeding(gradients)
    num_proposals = FEWEST_PROPOSALS
    while len(search.rows) < count:
        total = search.bring_up_to_date()
        if total == 0:
            search.take_rest(rng)
            break
        num_accepted = search.propose(rng.random((num_proposals, 2)))
        if num_accepted > 0.6 * num_proposals:
            num_proposals = min(2 * num_proposals, MOST_PROPOSALS)
        elif num_accepted < 0.3 * num_proposals:
            num_proposals = max(num_proposals // 2, FEWEST_PROPOSALS)
    return np.array(search.rows[:count], np.int64), np.array(search.weights_drawn[:count])


class _Seeding:
    """Where a seeding stands: the rows taken, and a bound on every row's weight."""

    def __init__(self, gradients: Gradients) -> None:
        self.gradients = gradients
        first = int(np.argmax(gradients.squared_norms))
        self.rows = [first]
        self.weights_drawn = [float(gradients.squared_norms[first])]
        self._num_met = 0
        self._weights = np.full(len(gradients.squared_norms), np.inf)

    def bring_up_to_date(self) -> float:
        """Lets every weight meet the centres it has not met; returns the sum of weights."""
        fresh = self.rows[self._num_met :]
        if fresh:
            self.gradients.lower(self._weights, np.array(fresh, np.int64))
            self._weights[self.rows] = 0.0
            self._num_met = len(self.rows)
            self._cumulative = np.cumsum(self._weights)
        return float(self._cumulative[-1])

    def propose(self, uniforms: Doubles) -> int:
        """Draws (k, 2) `uniforms`' worth of proposals; returns how many became centres."""
        # Uniforms stay below 1 by 2**-53 or more, so these stay below the total, and the first row
        # whose cumulative sum exceeds one of them has weight. Only a total that is denormal itself
        # may be reached by rounding: then it is the last row with weight.
        total = self._cumulative[-1]
        last = np.searchsorted(self._cumulative, total, side="left")
        proposals = np.searchsorted(self._cumulative, uniforms[:, 0] * total, side="right")
        proposals = np.minimum(proposals, last)
        drawn = self.gradients.at(proposals)
        among = drawn.squared_distances(drawn)
        bounds = self._weights[proposals]
        weights = bounds.copy()
        accepted = 0
        for k, row in enumerate(proposals):
            if uniforms[k, 1] * bounds[k] < weights[k]:
                self.rows.append(int(row))
                self.weights_drawn.append(float(weights[k]))
                np.minimum(weights, among[k], out=weights)
                accepted += 1
        return accepted

    def take_rest(self, rng: np.random.Generator) -> None:
        left = np.setdiff1d(np.arange(len(self._weights)), self.rows)
        self.rows += rng.permutation(left).tolist()
        self.weights_drawn += [0.0] * len(left)
