"""Last-layer gradients of a whole pool, never written out.

A gradient is an outer product ``g = a ⊗ h`` of a residual (C,) and an embedding (D,), so
``<g, g'> = <a, a'><h, h'>``: a distance costs C + D, and the C * D numbers do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from strategies.base import Doubles, Floats, Rows
from strategies.kernels.blocks import map_blocks
from strategies.kernels.distances import Points
from strategies.kernels.factored import pseudo_labels, residuals_of

# Below this share of the squared norm float32 leaves a distance too few digits, and float64 takes
# over; below the second share float64 does too, and the difference is taken factor by factor.
_NEAR_SINGLE = 2.0**-6
_NEAR_DOUBLE = 2.0**-20
_SINGLE_ERROR = 2.0**-14
_SMALLEST = 1e-30
_TINY = 2.0**-100  # of the largest squared norm: products of such rows may leave float32's range


@dataclass(frozen=True, eq=False)
class Factors:
    """A few gradients in float64."""

    residuals: Doubles  # (n, C)
    embeddings: Doubles  # (n, D)

    @cached_property
    def squared_norms(self) -> Doubles:
        return _squares(self.residuals) * _squares(self.embeddings)

    def squared_distances(self, others: Factors) -> Doubles:
        """(n,) gradients to (m,) `others` -> (n, m); exactly zero between equal gradients."""
        products = self.residuals @ others.residuals.T
        products *= self.embeddings @ others.embeddings.T
        norms = self.squared_norms[:, None] + others.squared_norms
        table: Doubles = np.maximum(norms - 2 * products, 0.0)
        mine, theirs = np.nonzero(table < _NEAR_DOUBLE * norms)
        for start in range(0, len(mine), 1024):
            pairs = (mine[start : start + 1024], theirs[start : start + 1024])
            table[pairs] = self._by_difference(others, *pairs)
        return table

    def _by_difference(self, others: Factors, mine: Rows, theirs: Rows) -> Doubles:
        """Squared distances of pairs, without cancellation.

        a⊗h - b⊗k = (a - b)⊗h + b⊗(h - k), so its square is
        |a-b|^2 |h|^2 + |b|^2 |h-k|^2 + 2 <a-b, b> <h, h-k>.
        """
        a, h = self.residuals[mine], self.embeddings[mine]
        b, k = others.residuals[theirs], others.embeddings[theirs]
        da, dh = a - b, h - k
        squares = _squares(da) * _squares(h) + _squares(b) * _squares(dh)
        squares += 2 * np.einsum("nc,nc->n", da, b) * np.einsum("nd,nd->n", h, dh)
        return np.maximum(squares, 0.0)


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradients of a pool, as their factors."""

    residuals: Floats  # (N, C) probabilities minus the one-hot of the likeliest class
    embeddings: Points  # (N, D), may be memory-mapped
    residual_squares: Doubles  # (N,) squared norms of the factors
    embedding_squares: Doubles  # (N,)
    threads: int | None = None

    @classmethod
    def of(cls, log_probs: Points, embeddings: Points, *, threads: int | None = None) -> Gradients:
        """Gradients of the cross-entropy to the likeliest class (the first of equals)."""

        def of_block(block: slice) -> tuple[Floats, Doubles, Doubles]:
            some = log_probs[block]
            exact = residuals_of(some, pseudo_labels(some))
            rows = np.asarray(embeddings[block], np.float64)
            return exact.astype(np.float32), _squares(exact), _squares(rows)

        parts = zip(*map_blocks(of_block, len(embeddings), threads=threads), strict=True)
        residuals, residual_squares, embedding_squares = (np.concatenate(part) for part in parts)
        return cls(residuals, embeddings, residual_squares, embedding_squares, threads)

    @cached_property
    def squared_norms(self) -> Doubles:
        return self.residual_squares * self.embedding_squares

    def at(self, rows: Rows | slice) -> Factors:
        return Factors(
            self.residuals[rows].astype(np.float64), self.embeddings[rows].astype(np.float64)
        )

    def lower(self, weights: Doubles, centres: Rows) -> None:
        """Lowers `weights` (N,) to the squared distance to the nearest of `centres`, in place.

        One float32 product over the pool; where that leaves too few digits, float64.
        """
        factors = self.at(centres)
        # Both factors are brought to unit size, so that no finite input overflows float32.
        size_a = max(float(self.residual_squares.max()), _SMALLEST**2)
        size_h = max(float(self.embedding_squares.max()), _SMALLEST**2)
        residuals = (factors.residuals / size_a).astype(np.float32)
        embeddings = (factors.embeddings / size_h).astype(np.float32)
        size = size_a * size_h
        halves = (factors.squared_norms / (2 * size)).astype(np.float32)[:, None]

        def of_block(block: slice) -> None:
            products = embeddings @ self.embeddings[block].astype(np.float32, copy=False).T
            products *= residuals @ self.residuals[block].T
            products -= halves
            norms, known = self.squared_norms[block], weights[block]
            squares = norms - 2 * size * products.max(axis=0).astype(np.float64)
            np.maximum(squares, 0.0, out=squares)
            near = squares < _NEAR_SINGLE * norms
            near &= squares - _SINGLE_ERROR * norms < known
            near |= norms < _TINY * size  # of these the product says nothing
            rows = np.flatnonzero(near & (known > 0))
            if rows.size:
                exact = self.at(rows + block.start).squared_distances(factors)
                squares[rows] = exact.min(axis=1)
            np.minimum(known, squares, out=known)

        map_blocks(of_block, len(weights), threads=self.threads)


def _squares(rows: Doubles) -> Doubles:
    squares: Doubles = np.einsum("nd,nd->n", rows, rows)
    return squares
