"""Fisher information of a linear head over softmax, and what one more sample takes off its inverse.

The information of a sample is ``I = (diag p - p p^T) ⊗ h h^T``. No sample says anything of what is
added to all logits alike, so classes are replaced by K = C - 1 contrasts, the columns of E:
``I = V V^T`` with ``V = E^T W ⊗ h`` and ``W[:, c] = √p_c (e_c - p)``. For a state ``P = M^-1`` and
``Q = P F P``, (K D, K D) each, adding ``κ I`` to M takes

    tr((1 + κ V^T P V)^-1  κ V^T Q V)

off ``tr(M^-1 F)`` (Woodbury's identity), where both inner matrices are C x C. They are kept for
every candidate. A pick changes P and Q by a few outer products, ``P -= L L^T`` and
``Q -= L X^T + X L^T`` with L, X of shape (K D, K), so a candidate's matrices change by the products
of ``V^T L`` and ``V^T X``: O(C² D) a candidate and pick, where computing them anew costs O(C² D²).

Sums over samples run over blocks of a size of their own: no bit depends on `blocks.BLOCK_ROWS`.
Equal rows are the caller's affair (`strategies.kernels.twins`): products here are rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks

_ROWS = 1024
_SMALLEST = 2.0**-40


@dataclass(frozen=True, eq=False)
class Samples:
    """Some samples as a linear head sees them."""

    probs: Doubles  # (n, C) rows add up to 1
    points: Doubles  # (n, D)

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: Rows | slice) -> Samples:
        return Samples(self.probs[rows], self.points[rows])


def contrasts(classes: int) -> Doubles:
    """Orthogonal columns of length one that add up to 0 each (Helmert's): (C, K).

    K is C - 1. A single class has one contrast, which is 0.
    """
    table = np.zeros((classes, max(classes - 1, 1)))
    for k in range(1, classes):
        table[:k, k - 1], table[k, k - 1] = 1, -k
        table[:, k - 1] /= np.sqrt(k * (k + 1))
    return table


def information(samples: Samples, weights: Doubles) -> Doubles:
    """The sum of ``weights · E^T (diag p - p p^T) E ⊗ h h^T``: (K D, K D), index k · D + d."""
    classes, width = samples.probs.shape[1], samples.points.shape[1]
    total = np.zeros((classes, width, classes, width))
    pairs = np.argwhere(np.tri(classes, dtype=np.bool_)).tolist()

    def of_pair(which: slice) -> None:
        first, second = pairs[which.start]
        one, other = samples.probs[:, first], samples.probs[:, second]
        roots = np.sqrt(weights * one * (1 - one if first == second else other))
        part = np.zeros((width, width))
        for start in range(0, len(samples), _ROWS):
            rows = samples.points[start : start + _ROWS] * roots[start : start + _ROWS, None]
            part += rows.T @ rows
        total[first, :, second] = total[second, :, first] = part if first == second else -part

    map_blocks(of_pair, len(pairs), block_rows=1)
    basis = contrasts(classes)
    total = np.tensordot(basis, total, axes=(0, 0))
    total = np.tensordot(total, basis, axes=(2, 0)).transpose(0, 1, 3, 2)
    return total.reshape(basis.shape[1] * width, -1)


@dataclass(eq=False)
class TraceState:
    """P = M^-1 and F, and of each candidate ``κ V^T P V`` and ``κ V^T P F P V``.

    Small matrices are stored by class, (C, C, n), so that arithmetic runs along the candidates.
    """

    candidates: Samples
    factor: float  # κ, how much of its information a candidate adds
    fisher: Doubles  # F, (K D, K D)
    inverse: Doubles  # P, (K D, K D)
    spreads: Doubles  # κ V^T P V, (C, C, n)
    shares: Doubles  # κ V^T P F P V, (C, C, n)

    @classmethod
    def of(
        cls, candidates: Samples, factor: float, fisher: Doubles, information: Doubles
    ) -> TraceState:
        """The state at M = `information`, which is positive definite."""
        inverse = _inverse(information)
        width = candidates.points.shape[1]
        squared = _product(_product(inverse, fisher, width), inverse, width)
        spreads = _quadratic(candidates, inverse, factor)
        shares = _quadratic(candidates, squared, factor)
        return cls(candidates, factor, fisher, inverse, spreads, shares)

    @property
    def trace(self) -> float:
        """tr(M^-1 F), anew from the state."""
        return float(np.einsum("ij,ij->", self.inverse, self.fisher))

    def keep(self, rows: Rows) -> None:
        """Leaves only these candidates."""
        self.candidates = self.candidates.take(rows)
        self.spreads = np.ascontiguousarray(self.spreads[:, :, rows])
        self.shares = np.ascontiguousarray(self.shares[:, :, rows])

    def changes(self, sign: int) -> Doubles:
        """How much the trace falls as each is added (sign 1), or rises as it is taken off (-1)."""

        def of_block(rows: slice) -> Doubles:
            inner = sign * self.spreads[:, :, rows]
            for c in range(len(inner)):
                inner[c, c] += 1
            return _trace_of_ratio(inner, self.shares[:, :, rows].copy())

        return np.concatenate(map_blocks(of_block, len(self.candidates), block_rows=_ROWS))

    def update(self, which: int, sign: int) -> None:
        """Adds a candidate's information (sign 1) or takes it off again (sign -1)."""
        left, right = self._directions(which, sign)
        rank, width = left.shape[1], self.candidates.points.shape[1]
        directions = np.concatenate([left, right], axis=1)

        def of_contrast(rows: slice) -> None:
            self.inverse[rows] -= sign * (left[rows] @ left.T)

        def of_block(rows: slice) -> None:
            both = _contracted(self.candidates.take(rows), directions)
            ours, theirs = both[:, :rank], both[:, rank:]
            scaled = (sign * self.factor) * ours
            self.spreads[:, :, rows] -= np.einsum("crn,krn->ckn", scaled, ours)
            mixed = np.einsum("crn,krn->ckn", scaled, theirs)
            self.shares[:, :, rows] -= mixed + mixed.transpose(1, 0, 2)

        map_blocks(of_contrast, len(self.inverse), block_rows=width)
        map_blocks(of_block, len(self.candidates), block_rows=_ROWS)

    def _directions(self, which: int, sign: int) -> tuple[Doubles, Doubles]:
        """L and X: P changes by ``-sign · L L^T`` and Q by ``-sign · (L X^T + X L^T)``."""
        probs, point = self.candidates.probs[which], self.candidates.points[which]
        basis, width = contrasts(len(probs)), len(point)
        root = basis.T @ ((np.eye(len(probs)) - probs[:, None]) * np.sqrt(self.factor * probs))
        vectors, lengths, _ = np.linalg.svd(root, full_matrices=False)
        root = vectors * lengths
        reached = (self.inverse.reshape(-1, width) @ point).reshape(len(self.inverse), -1) @ root
        inner = sign * root.T @ (point @ reached.reshape(len(root), width, -1))
        values, vectors = np.linalg.eigh((inner + inner.T) / 2 + np.eye(len(inner)))
        left: Doubles = reached @ (vectors / np.sqrt(np.maximum(values, _SMALLEST)))
        image = _product(self.fisher, left, width)
        right = _product(self.inverse, image, width) - (sign / 2) * left @ (left.T @ image)
        return left, right


def _trace_of_ratio(inner: Doubles, shares: Doubles) -> Doubles:
    """tr(A^-1 R) of positive definite A and semidefinite R, both (C, C, n): (n,) >= 0.

    Eliminates one class after the other from both; both arrays are used up.
    """
    total = np.zeros(inner.shape[2])
    for c in range(len(inner)):
        pivot = np.maximum(inner[c, c], _SMALLEST)
        total += shares[c, c] / pivot
        below = inner[c + 1 :, c] / pivot
        mixed = shares[c + 1 :, c] - below * (shares[c, c] / 2)
        inner[c + 1 :, c + 1 :] -= below[:, None] * inner[c, c + 1 :]
        outer = below[:, None] * mixed
        shares[c + 1 :, c + 1 :] -= outer + outer.transpose(1, 0, 2)
    return np.maximum(total, 0.0)


def _contracted(some: Samples, tall: Doubles) -> Doubles:
    """V^T T without κ, for T of shape (K D, r): (C, r, n)."""
    width, rank = some.points.shape[1], tall.shape[1]
    rows = tall.reshape(-1, width, rank).transpose(0, 2, 1).reshape(-1, width)
    table = (rows @ some.points.T).reshape(-1, rank * len(some))
    by_class = (contrasts(some.probs.shape[1]) @ table).reshape(-1, rank, len(some))
    probs = np.ascontiguousarray(some.probs.T)
    by_class -= np.einsum("cn,crn->rn", probs, by_class)
    by_class *= np.sqrt(probs)[:, None]
    return by_class


def _quadratic(candidates: Samples, matrix: Doubles, factor: float) -> Doubles:
    """κ V^T T V of each candidate, for a symmetric T of shape (K D, K D): (C, C, n)."""
    basis, width = contrasts(candidates.probs.shape[1]), candidates.points.shape[1]
    size = basis.shape[1]
    blocks = matrix.reshape(size, width, size, width)

    def of_block(rows: slice) -> Doubles:
        some = candidates.take(rows)
        forms = np.empty((size, size, len(some)))
        for k in range(size):
            table = some.points @ blocks[k, :, k:].reshape(width, -1)
            table = table.reshape(len(some), size - k, width)
            forms[k, k:] = forms[k:, k] = np.einsum("nkd,nd->kn", table, some.points)
        by_class = np.tensordot(basis, np.tensordot(basis, forms, axes=(1, 1)), axes=(1, 1))
        return factor * _projected(by_class, np.ascontiguousarray(some.probs.T))

    return np.concatenate(map_blocks(of_block, len(candidates), block_rows=_ROWS), axis=2)


def _projected(forms: Doubles, probs: Doubles) -> Doubles:
    """W^T S W for symmetric S (C, C, n) and p (C, n)."""
    means = np.einsum("ckn,kn->cn", forms, probs)
    roots = np.sqrt(probs)
    inner: Doubles = forms - means[:, None] - means + np.einsum("cn,cn->n", means, probs)
    inner *= roots[:, None] * roots
    return inner


def _inverse(matrix: Doubles) -> Doubles:
    diagonal = matrix.diagonal()
    if np.count_nonzero(matrix) == np.count_nonzero(diagonal):
        return np.diag(1 / diagonal)
    inverse: Doubles = np.linalg.inv(matrix).astype(np.float64, copy=False)
    inverse += inverse.T.copy()
    inverse /= 2
    return inverse


def _product(left: Doubles, right: Doubles, height: int) -> Doubles:
    """The matrix product, by so many rows of `left` at a time."""
    return np.concatenate(map_blocks(lambda rows: left[rows] @ right, len(left), block_rows=height))


def principal(points: Doubles, weights: Doubles, width: int) -> tuple[Doubles, Doubles]:
    """The directions in which points are longest, weighted and seen from the origin.

    Returns:
        Orthogonal directions of length one, (D, width), and the root of the mean square along each,
        (width,), descending. What cannot be told from rounding is put to 2**-20 of the largest.
    """
    moments = np.zeros((points.shape[1], points.shape[1]))
    for start in range(0, len(points), _ROWS):
        rows = points[start : start + _ROWS]
        moments += (rows * weights[start : start + _ROWS, None]).T @ rows
    squares, directions = np.linalg.eigh(moments / weights.sum())
    squares = np.maximum(squares[::-1][:width], _SMALLEST * (squares[-1] or 1.0))
    return np.ascontiguousarray(directions[:, ::-1][:, :width]), np.sqrt(squares)
