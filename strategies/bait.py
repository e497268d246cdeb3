"""BAIT: the batch that says most about the head, measured by Fisher information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import (
    Candidates,
    Doubles,
    Ids,
    Picks,
    QueryStrategy,
    Rows,
    Signal,
    StrategyError,
)
from strategies.kernels.blocks import one_blas_thread
from strategies.kernels.exact import Points
from strategies.kernels.fisher import Samples, TraceState, information, principal
from strategies.kernels.keyed import item_noise
from strategies.kernels.top import first_rows
from strategies.kernels.twins import Twins, twins_of

_WIDEST = 4096  # classes times width of the state, unless `width` asks for more
_MOST_BYTES = 8 * 2**30
_LEAST_RIDGE = 2.0**-40  # of the mean square along a direction: below it float64 loses the trace


class BAIT(QueryStrategy):
    """Asks for the batch that leaves the head's parameters least uncertain where the pool is.

    The Fisher information of a sample in the last layer is ``I = (diag p - p p^T) ⊗ h h^T``. With F
    its mean over pool and labelled samples and ``M = λ 1 + (labelled sum + B · sum over the batch)
    / (M + B)``, where the M of the fraction counts labelled samples, ``tr(M^-1 F)`` is to be small.
    Forward, the sample that lowers the trace most joins until there are 2 B; backward, the one
    whose loss raises it least goes until there are B, of equal ones the last that joined. The
    order is that of joining, and the score is what the trace lost when the sample joined.

    Reference: Ash, Goel, Krishnamurthy & Kakade 2021, "Gone fishing: neural active learning with
    Fisher embeddings", https://arxiv.org/abs/2106.09675.
    Cost: O(N C² D²) time once and O(B (N C² D + C³ D²)) after that; about 32 (C D)² +
    8 N (D + 2 C²) bytes, for D at most `width`.
    Use: with few classes, when a batch may take minutes; its model is a linear head on fixed
    embeddings, so where the learner is one it fits best. Not with hundreds of classes.
    Differs: definition follows the public description of the authors' code, in which a batch sample
    weighs B times what a labelled one does; not checked against the paper's text. Probabilities
    are normalised anew in float64. Along each principal direction of the embeddings λ is at least
    2^-40 of their mean square. Beyond `width` embeddings are projected, and with `candidates` the
    pool is sampled: both are approximate, and the notes say so.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset(
        {"log_probs", "embeddings", "labelled_log_probs", "labelled_embeddings"}
    )
    is_prefix: ClassVar[bool] = False
    name: Literal["bait"] = "bait"
    ridge: float = Field(default=1.0, gt=0)
    """What is on the diagonal of M before any sample, often written λ."""
    width: int | None = Field(default=None, ge=1)
    """Numbers of an embedding that are used: its principal components about the origin, over pool
    and labelled samples. Nothing is lost from D on. By default as many as keep C times width at
    4,096 or below, which is all of 512 with 8 classes or fewer."""
    candidates: int | None = Field(default=None, ge=1)
    """How many of the pool may be asked for, drawn at random, though at least 2 B; the whole pool
    still makes F. By default all, without a draw. Else one 64-bit key is drawn and the ids with
    the smallest hashes stay."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, embeddings = candidates.log_probs, candidates.embeddings
        known_log_probs = candidates.labelled_log_probs
        known_embeddings = candidates.labelled_embeddings
        assert log_probs is not None  # check_request saw that `needs` are given
        assert embeddings is not None
        assert known_log_probs is not None
        assert known_embeddings is not None
        rows = self._allowed(candidates.ids, batch_size, rng)
        twins = twins_of(log_probs, embeddings)
        groups, places = np.unique(twins.group_of[rows], return_inverse=True)
        classes, depth = log_probs.shape[1], embeddings.shape[1]
        width = min(depth, self.width or max(_WIDEST // classes, 1))
        _refuse_too_large(classes, width, len(groups), len(twins.firsts))

        pool = _samples(log_probs[twins.firsts], embeddings[twins.firsts])
        known = _samples(known_log_probs, known_embeddings)
        pool, known, ridges = _levelled(pool, known, twins, width, self.ridge)
        state = _state(pool, known, twins, groups, batch_size, ridges)
        swept = sweep(state, places.astype(np.int64), batch_size)
        notes = {
            "objective": swept.objective,
            "width": width,
            "candidates": len(rows),
            "approximate": width < depth or len(rows) < len(candidates),
        }
        return Picks(rows=rows[swept.members], scores=swept.scores, notes=notes)

    def _allowed(self, ids: Ids, batch_size: int, rng: np.random.Generator) -> Rows:
        """Rows that may be asked for, ascending."""
        size = len(ids) if self.candidates is None else max(self.candidates, 2 * batch_size)
        if size >= len(ids):
            return np.arange(len(ids))
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        return np.sort(first_rows(item_noise(ids, key), size))


@dataclass(frozen=True, eq=False)
class Swept:
    """What went forward and stayed on the way back."""

    members: Rows  # (B,) in the order of joining
    scores: Doubles  # (B,) what the trace lost as each joined
    objective: list[float]  # tr(M^-1 F) before, after 2 B and at the end


@one_blas_thread()
def sweep(state: TraceState, places: Rows, count: int) -> Swept:
    """Forward to twice `count`, then back.

    Args:
        state: With nothing picked; it is used up.
        places: (n,) of each that may be picked, its place among the candidates of `state`; equal
            ones share a place.
        count: B, between 1 and n.
    """
    members, losses, objective = np.empty(0, np.int64), np.empty(0), [state.trace]
    for _ in range(min(2 * count, len(places))):
        values = state.changes(1)[places]
        values[members] = -np.inf
        best = int(values.argmax())
        members, losses = np.append(members, best), np.append(losses, values[best])
        state.update(int(places[best]), 1)
    objective.append(state.trace)
    groups, of_member = np.unique(places[members], return_inverse=True)
    state.keep(groups)
    for _ in range(len(members) - count):
        rises = state.changes(-1)[of_member]
        least = len(rises) - 1 - int(rises[::-1].argmin())
        gone = of_member[least]
        state.update(int(gone), -1)
        members, losses = np.delete(members, least), np.delete(losses, least)
        of_member = np.delete(of_member, least)
        if gone not in of_member:  # what is not in M any more cannot be taken off it
            state.keep(np.delete(np.arange(len(state.candidates)), gone))
            of_member[of_member > gone] -= 1
    return Swept(members, losses, [*objective, state.trace])


@one_blas_thread()
def _state(
    pool: Samples, known: Samples, twins: Twins, groups: Rows, count: int, ridges: Doubles
) -> TraceState:
    of_known = information(known, np.ones(len(known)))
    fisher = information(pool, twins.sizes.astype(np.float64))
    fisher += of_known
    fisher /= len(twins.group_of) + len(known)
    of_known /= len(known) + count
    of_known[np.diag_indices_from(of_known)] += np.tile(ridges, len(fisher) // len(ridges))
    factor = count / (len(known) + count)
    return TraceState.of(pool.take(groups), factor, fisher, of_known)


@one_blas_thread()
def _levelled(
    pool: Samples, known: Samples, twins: Twins, width: int, ridge: float
) -> tuple[Samples, Samples, Doubles]:
    """Embeddings along their principal directions, of mean square 1 along each, and the ridges.

    A change of basis leaves the trace as it is. Here it saves digits: M is otherwise as badly
    conditioned as the embeddings are lopsided, squared.
    """
    points = np.concatenate([pool.points, known.points])
    weights = np.concatenate([twins.sizes, np.ones(len(known))])
    directions, lengths = principal(points, weights, width)
    basis = directions / lengths
    ridges = np.maximum(ridge / lengths**2, _LEAST_RIDGE)
    pool = Samples(pool.probs, pool.points @ basis)
    return pool, Samples(known.probs, known.points @ basis), ridges


def _samples(log_probs: Points, embeddings: Points) -> Samples:
    probs: Doubles = np.exp(log_probs.astype(np.float64))
    probs /= probs.sum(axis=1, keepdims=True)
    return Samples(probs, embeddings.astype(np.float64))


def _refuse_too_large(classes: int, width: int, candidates: int, pool: int) -> None:
    size = 8 * (4 * (classes * width) ** 2 + 2 * classes**2 * candidates + width * pool)
    if size > _MOST_BYTES:
        raise StrategyError(
            f"bait would need {size / 2**30:.0f} GiB for {classes} classes, width {width} and "
            f"{candidates} candidates; set a smaller width, or candidates below {candidates}"
        )
