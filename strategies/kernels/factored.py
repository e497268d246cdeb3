"""Exact algebra of last-layer gradients, kept as their two factors.

The gradient of the cross-entropy in the last layer is an outer product ``g = a ⊗ h`` of a residual
``a = p - e_y`` (C,) and an embedding (D,), to which a layer with a bias adds a constant 1. So
``<g, g'> = <a, a'> (<h, h'> + 1)``, and the product with a matrix R (C, D + 1) is one row of
``A ∘ (H R^T)`` added up: nothing of size C D a sample ever exists.

Both factors are rounded once, as `strategies.kernels.exact` says, and the rounded gradient *is* the
gradient from there on. Products are then exact up to a few roundings that each pair makes alone, in
one order: equal rows get equal numbers, whatever the blocks, the threads and the BLAS.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import NARROW_ROWS, map_blocks
from strategies.kernels.exact import ExactPool, ExactRows, Points, exact_rows

SUM_ROWS = 1024
"""Rows added up at a time in a sum of gradients. Not `blocks.BLOCK_ROWS`: the last bits of such a
sum depend on this number, and no pick may depend on the grid of blocks."""


def pseudo_labels(log_probs: Points) -> Rows:
    """The likeliest class of each row, the first of equals: (N, C) -> (N,)."""
    labels: Rows = np.asarray(log_probs).argmax(axis=1).astype(np.int64)
    return labels


def residuals_of(log_probs: Points, labels: Rows) -> Doubles:
    """P - e_y, in float64: (N, C) -> (N, C). Small differences from one are kept."""
    logs = np.asarray(log_probs, np.float64)
    residuals: Doubles = np.exp(logs)
    rows = np.arange(len(logs))
    residuals[rows, labels] = np.expm1(logs[rows, labels])
    return residuals


@dataclass(frozen=True, eq=False)
class FactoredRows:
    """A few gradients."""

    residuals: ExactRows  # (n, C)
    embeddings: ExactRows  # (n, D)
    bias: bool

    def __len__(self) -> int:
        return len(self.residuals)

    @cached_property
    def squared_norms(self) -> Doubles:
        """(n,), bit for bit the product of each gradient with itself."""
        squares = self.embeddings.squares * self.embeddings.scales**2
        squares += float(self.bias)
        squares *= self.residuals.squares * self.residuals.scales**2
        return squares

    def products(self, others: FactoredRows) -> Doubles:
        """<g, other> for all pairs: (n,) x (m,) -> (n, m)."""
        table = self.embeddings.products(others.embeddings)
        table += float(self.bias)
        table *= self.residuals.products(others.residuals)
        return table

    def similarities(self, others: FactoredRows) -> Doubles:
        """exp(-|g - other|² / 2) for all pairs: (n, m) in [0, 1], exactly 1 between equal ones."""
        table = self.products(others)
        table -= (self.squared_norms[:, None] + others.squared_norms) / 2
        np.minimum(table, 0.0, out=table)
        return np.exp(table, out=table)

    def matrix(self, weights: Doubles) -> Doubles:
        """The sum of the gradients times `weights` (n,): (C, D + 1), (C, D) without bias."""
        residuals = self.residuals.values * (weights * self.residuals.scales)[:, None]
        return _summed(residuals, self.embeddings, bias=self.bias)


@dataclass(frozen=True, eq=False)
class FactoredPool:
    """The gradients of a pool."""

    residuals: ExactRows  # (N, C)
    embeddings: ExactPool  # (N, D), may be a memory map
    bias: bool

    @classmethod
    def of(
        cls, log_probs: Points, embeddings: ExactPool, *, bias: bool, labels: Rows | None = None
    ) -> FactoredPool:
        """Gradients of the cross-entropy to `labels`, by default to the likeliest class."""

        def of_block(rows: slice) -> ExactRows:
            logs = np.asarray(log_probs[rows], np.float64)
            towards = pseudo_labels(logs) if labels is None else labels[rows]
            return exact_rows(residuals_of(logs, towards))

        parts = map_blocks(of_block, len(embeddings), block_rows=NARROW_ROWS)
        if not parts:
            return cls(exact_rows(np.empty((0, log_probs.shape[1]))), embeddings, bias)
        fields = ([getattr(p, name) for p in parts] for name in ("values", "scales", "squares"))
        return cls(ExactRows(*(np.concatenate(field) for field in fields)), embeddings, bias)

    def __len__(self) -> int:
        return len(self.residuals)

    def block(self, rows: slice) -> FactoredRows:
        return FactoredRows(self.residuals.take(rows), self.embeddings.block(rows), self.bias)

    def at(self, rows: Rows) -> FactoredRows:
        return FactoredRows(self.residuals.take(rows), self.embeddings.at(rows), self.bias)

    @cached_property
    def squared_norms(self) -> Doubles:
        parts = map_blocks(lambda rows: self.block(rows).squared_norms, len(self))
        return np.concatenate(parts) if parts else np.empty(0)

    def products(self, few: FactoredRows) -> Doubles:
        """<g_i, g> of every gradient with `few` (m,) others: (m, N)."""
        parts = map_blocks(lambda rows: self.block(rows).products(few).T, len(self))
        return np.concatenate(parts, axis=1)

    def similarities(self, few: FactoredRows) -> Doubles:
        """Those of every gradient to `few` (m,) others, see `FactoredRows`: (m, N)."""
        parts = map_blocks(lambda rows: self.block(rows).similarities(few).T, len(self))
        return np.concatenate(parts, axis=1)

    def along(self, matrix: Doubles) -> Doubles:
        """<g_i, R> of every gradient with a matrix (C, D + 1), (C, D) without bias: (N,).

        The rows of R are rounded like embeddings, so the product is exact; what a row's classes
        give is added up in the order of the classes.
        """
        width = self.embeddings.points.shape[1]
        directions = exact_rows(matrix[:, :width])
        offsets = matrix[:, width:] if self.bias else np.zeros((len(matrix), 1))

        def of_block(rows: slice) -> Doubles:
            part, residuals = self.embeddings.block(rows), self.residuals.take(rows)
            table = directions.values @ part.values.T
            table *= directions.scales[:, None]
            table *= part.scales
            table += offsets
            totals = np.zeros(table.shape[1])
            for of_class, values in zip(table, residuals.values.T, strict=True):
                totals += of_class * values
            return totals * residuals.scales

        return np.concatenate(map_blocks(of_block, len(self)))

    def total(self) -> Doubles:
        """The sum of all gradients: (C, D + 1), (C, D) without bias."""
        scaled = self.residuals.values * self.residuals.scales[:, None]
        width = self.embeddings.points.shape[1] + self.bias

        def of_block(rows: slice) -> Doubles:
            return _summed(scaled[rows], self.embeddings.block(rows), bias=self.bias)

        sums = map_blocks(of_block, len(self), block_rows=SUM_ROWS)
        total = np.zeros((scaled.shape[1], width))
        for part in sums:
            total += part
        return total


def _summed(residuals: Doubles, embeddings: ExactRows, *, bias: bool) -> Doubles:
    sums: Doubles = (residuals * embeddings.scales[:, None]).T @ embeddings.values
    if not bias:
        return sums
    return np.concatenate([sums, residuals.sum(axis=0)[:, None]], axis=1)
