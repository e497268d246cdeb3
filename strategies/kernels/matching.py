"""Few gradients whose sum is near a target: greedily with weights 1, or by matching pursuit.

Both minimise ``|Σ w_s g_s - T|``. Gradients are kept as factors (`strategies.kernels.factored`), so
a pick costs one product with the pool and nothing of size C D a sample exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import one_blas_thread
from strategies.kernels.factored import FactoredPool

# What is below this share of |g||T| is rounding, not a gradient that points to the residual.
_NOTHING = 2.0**-34
# The least ridge, as a share of the largest squared norm: twins leave a Gram matrix singular.
_LEAST_RIDGE = 2.0**-36
_SETTLED = 2.0**-44

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Match:
    """What was picked, and how near it comes."""

    rows: Rows  # (B,) in order
    scores: Doubles  # (B,) see the function that answers it
    weights: Doubles  # (B,) >= 0
    pursued: int  # picks that matching pursuit made; the others are fixed ones
    residual: float  # |T - Σ w g| as a share of |T|; of |Σ w g| where T = 0


@one_blas_thread()
def match_fixed(pool: FactoredPool, target: Doubles, count: int) -> Match:
    """Adds gradients with weight 1, each the one that lowers the squared distance most.

    With R the target less what was picked that is the largest ``2 <g_i, R> - |g_i|²``, which is
    also its score; ties go to the first row. After a pick, ``<g_i, R>`` loses ``<g_i, g_pick>``.

    Args:
        pool: The gradients.
        target: T, (C, D + 1), or (C, D) without bias.
        count: Between 1 and N.
    """
    rows = np.empty(0, np.int64)
    rows, scores = _fixed(pool, pool.along(target), rows, count)
    weights = np.ones(count)
    return Match(rows, scores, weights, 0, _distance(pool, target, rows, weights))


@one_blas_thread()
def match_pursuit(pool: FactoredPool, target: Doubles, count: int, *, ridge: float) -> Match:
    """Orthogonal matching pursuit with weights >= 0.

    The next pick has the largest ``<g_i, R>``, which is its score, and all weights are then fitted
    anew: the least ``|Σ w g - T|² + ridge |w|²``. Where no gradient points to R any more the batch
    is filled by `match_fixed` on R, with weights 1 and the scores of that rule.
    """
    norms = np.sqrt(pool.squared_norms)
    least = _NOTHING * float(norms.max()) * float(np.linalg.norm(target))
    fit = RidgeFit(pool, target, count, max(ridge, _LEAST_RIDGE * float(norms.max()) ** 2))
    rows, scores = np.empty(count, np.int64), np.empty(count)
    residual, pursued = target, 0
    while pursued < count:
        inner = pool.along(residual)
        inner[rows[:pursued]] = -np.inf
        row = int(inner.argmax())
        if inner[row] <= least:
            break
        rows[pursued], scores[pursued] = row, inner[row]
        pursued += 1
        residual = fit.add(row)
    weights = np.ones(count)
    weights[:pursued] = fit.weights
    if pursued < count:
        filled = _fixed(pool, pool.along(residual), rows[:pursued], count - pursued)
        rows[pursued:], scores[pursued:] = filled
    return Match(rows, scores, weights, pursued, _distance(pool, target, rows, weights))


@dataclass(eq=False)
class RidgeFit:
    """``min over w >= 0 of |Σ w_s g_s - T|² + ridge |w|²`` as gradients join one by one.

    The active-set method of Lawson and Hanson (1974, "Solving least squares problems", chapter 23)
    on the normal equations, begun from the weights before. With ridge > 0 the answer is unique.
    """

    pool: FactoredPool
    target: Doubles  # (C, D + 1), or (C, D) without bias
    capacity: int
    ridge: float
    rows: Rows = field(default_factory=lambda: np.empty(0, np.int64))  # (n,)
    weights: Doubles = field(default_factory=lambda: np.empty(0))  # (n,)
    _gram: Doubles = field(init=False)  # (capacity, capacity), the ridge on its diagonal
    _aims: Doubles = field(init=False)  # (capacity,) <g_s, T>

    def __post_init__(self) -> None:
        self._gram = np.empty((self.capacity, self.capacity))
        self._aims = np.empty(self.capacity)

    def add(self, row: int) -> Doubles:
        """Takes one more gradient, fits all weights and answers T less the weighted sum."""
        last = len(self.rows)
        self.rows = np.append(self.rows, row)
        self.weights = np.append(self.weights, 0.0)
        few, one = self.pool.at(self.rows), self.pool.at(self.rows[last:])
        products = few.products(one)[:, 0]
        self._gram[last, : last + 1] = self._gram[: last + 1, last] = products
        self._gram[last, last] += self.ridge
        self._aims[last] = float((one.matrix(np.ones(1)) * self.target).sum())
        self._fit(self._gram[: last + 1, : last + 1], self._aims[: last + 1])
        return self.target - few.matrix(self.weights)

    def _fit(self, gram: Doubles, aims: Doubles) -> None:
        active = self.weights > 0
        enough = _SETTLED * float(np.abs(aims).max())
        for _ in range(3 * len(aims)):  # far more than is ever needed; rounding could go in circles
            slopes = aims - gram @ self.weights
            slopes[active] = -np.inf
            if slopes.max() <= enough:
                return
            active[slopes.argmax()] = True
            self._fit_active(gram, aims, active)

    def _fit_active(self, gram: Doubles, aims: Doubles, active: Flags) -> None:
        """Fits the active weights; those that would turn negative are put to 0 and leave."""
        while active.any():
            fitted = np.linalg.solve(gram[np.ix_(active, active)], aims[active])
            if (fitted > 0).all():
                self.weights[active] = fitted
                return
            now = self.weights[active]
            falls = fitted <= 0
            steps = now[falls] / (now[falls] - fitted[falls])
            now += steps.min() * (fitted - now)
            now[np.flatnonzero(falls)[steps <= steps.min()]] = 0.0
            self.weights[active] = now
            active[active] = now > 0


def _fixed(pool: FactoredPool, inner: Doubles, taken: Rows, count: int) -> tuple[Rows, Doubles]:
    """`count` fixed picks beyond those taken, given <g_i, R>: rows and what each took off |R|²."""
    rows, scores = np.append(taken, np.zeros(count, np.int64)), np.empty(count)
    for place in range(count):
        gains = 2 * inner - pool.squared_norms
        gains[rows[: len(taken) + place]] = -np.inf
        row = int(gains.argmax())
        rows[len(taken) + place], scores[place] = row, gains[row]
        inner -= pool.products(pool.at(np.array([row])))[0]
    return rows[len(taken) :], scores


def _distance(pool: FactoredPool, target: Doubles, rows: Rows, weights: Doubles) -> float:
    reached = pool.at(rows).matrix(weights)
    size = float(np.linalg.norm(target)) or float(np.linalg.norm(reached))
    return float(np.linalg.norm(target - reached)) / size if size else 0.0
