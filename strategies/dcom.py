"""DCoM: from covering the pool to asking where the learner is torn, as it grows competent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Rows, Signal
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.distances import Points
from strategies.kernels.exact import ExactPool, exact_rows
from strategies.kernels.radius import (
    FARTHEST,
    Cover,
    Flags,
    UnitRows,
    radius_graph,
    rows_near,
)
from strategies.prob_cover import CoveringStrategy
from strategies.scores import margin

_TABLE = 2**21  # distances a thread holds at a time
_COLUMNS = 4096
_GRID = 2.0**-52  # of exact squared distances between unit rows


class DCoM(CoveringStrategy):
    """Covers the pool while the learner knows little, and asks where it is torn once it knows more.

    Every labelled sample has a ball of its own size: the largest radius up to `delta_max` within
    which the share of samples that the learner gives its label, or that have it, is at least
    0.2 c + 0.4. Here c is the share of labelled and unlabelled samples nearer than `delta` to a
    labelled one. The share v of samples in any of these balls measures competence,
    k = (1 + exp(-s (1 - a))) / (1 + exp(-s (v - a))) with the steepness s and the midpoint a. Each
    pick has the largest k u + (1 - k) d: u is one minus the margin of its two likeliest classes,
    d its number of uncovered neighbours at the mean radius, and both are brought to [0, 1] over the
    candidates that are left. A pick covers its neighbours. The score is that sum.

    With nothing labelled the competence is 0 and the picks are those of `probcover`, its fallback
    included. Draws: those of `probcover`.

    Reference: Mishal & Weinshall 2024, "DCoM: Active learning for all learners",
    https://arxiv.org/abs/2407.01804.
    Cost: as `probcover`, and M (N + M) D multiplications in float64 and as many distances sorted.
    Use: where one strategy is to serve from the first label to the last. It has more settings than
    `margin` or `probcover`, and its balls trust the learner's predictions.
    Differs: the definition follows the authors' public code, not checked against the paper's text,
    nor are the defaults of `steepness` and `midpoint` (its code's; others report 30 and 0.9) and
    of `delta_max`, which is ours. Radii are found anew each round, where the authors keep those of
    earlier rounds; the largest radius is taken, where they bisect as if purity fell steadily.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset(
        {"log_probs", "embeddings", "labelled_embeddings", "labelled_labels"}
    )
    name: Literal["dcom"] = "dcom"

    delta_max: float | None = Field(default=None, ge=1e-6)
    """Largest radius of a labelled sample's ball; by default twice `delta`."""

    steepness: float = Field(default=50.0, gt=0, le=500)
    """How sharply competence sets in."""

    midpoint: float = Field(default=0.8, ge=0, le=1)
    """Share of samples covered at which competence is about one half."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, embeddings = candidates.log_probs, candidates.embeddings
        assert log_probs is not None  # check_request saw that `needs` are given
        assert embeddings is not None
        assert candidates.labelled_embeddings is not None
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        rows = UnitRows.of(embeddings, candidates.labelled_embeddings)
        known = self._measured(candidates, rows, self.radius(rows, rng))
        graph = radius_graph(rows, len(candidates), known.delta)
        cover, doubts, scores = Cover(graph, known.covered), 1 - margin(log_probs), list[float]()
        # Without competence, nothing tells candidates apart once all are covered.
        while len(scores) < batch_size and (known.competence > 0 or cover.degrees.any()):
            row, score = _best(cover, known, doubts)
            cover.take(row)
            scores.append(score)
        picks = np.array(cover.picks, np.int64)
        num_more = batch_size - len(picks)
        return Picks(
            rows=np.concatenate([picks, self.rest(rows, candidates, picks, num_more, key)]),
            scores=np.array([*scores, *[0.0] * num_more]),
            notes={
                "competence": known.competence,
                "coverage": known.coverage,
                "delta": known.delta,
            },
            maps={"stands_for": cover.covered_by},
        )

    def _measured(self, candidates: Candidates, rows: UnitRows, delta: float) -> _Known:
        """What the labelled samples cover, each by a ball of its own size."""
        embeddings, labelled = candidates.embeddings, candidates.labelled_embeddings
        labels, log_probs = candidates.labelled_labels, candidates.log_probs
        assert embeddings is not None
        assert labelled is not None
        assert labels is not None
        assert log_probs is not None
        num, num_labelled = len(candidates), len(labels)
        if num_labelled == 0:
            return _Known(np.zeros(num, bool), 0.0, 0.0, delta)
        near = rows_near(rows, num, delta)
        threshold = 0.2 * _share(near, num_labelled) + 0.4
        guesses = np.concatenate([log_probs.argmax(axis=1), labels])
        most = min(2 * delta, FARTHEST) if self.delta_max is None else self.delta_max
        squares, covered = pure_balls(embeddings, labelled, guesses, threshold, most)
        coverage = _share(covered, num_labelled)
        # Exactly rounded, so that the order of labelled samples does not matter.
        mean = math.fsum(np.sqrt(squares)) / num_labelled
        return _Known(covered, coverage, self._competence(coverage), mean)

    def _competence(self, coverage: float) -> float:
        steepness, midpoint = self.steepness, self.midpoint
        at_most = 1 + math.exp(-steepness * (1 - midpoint))
        return at_most / (1 + math.exp(-steepness * (coverage - midpoint)))


@dataclass(frozen=True, eq=False)
class _Known:
    """Where the learner stands."""

    covered: Flags  # (N,)
    coverage: float  # share of all samples
    competence: float
    delta: float  # the mean radius


def _share(covered: Flags, num_labelled: int) -> float:
    """Share of all samples that are covered, as labelled ones always are."""
    return (int(np.count_nonzero(covered)) + num_labelled) / (len(covered) + num_labelled)


def _best(cover: Cover, known: _Known, doubts: Doubles) -> tuple[int, float]:
    """The candidate with the best mix of margin and density among those left, and its score."""
    is_left = np.ones(len(doubts), bool)
    is_left[cover.picks] = False
    scores = known.competence * _scaled(doubts, is_left)
    scores += (1 - known.competence) * _scaled(cover.degrees.astype(np.float64), is_left)
    scores[cover.picks] = -np.inf
    row = int(np.argmax(scores))
    return row, float(scores[row])


def _scaled(values: Doubles, left: Flags) -> Doubles:
    """Values brought to [0, 1] over those left; 0 where these are all equal."""
    least = values.min(where=left, initial=np.inf)
    spread = values.max(where=left, initial=-np.inf) - least
    return (values - least) / spread if spread > 0 else np.zeros_like(values)


@one_blas_thread()
def pure_balls(
    pool: Points, labelled: Points, labels: Rows, threshold: float, most: float
) -> tuple[Doubles, Flags]:
    """The largest ball around each labelled row that is pure enough, and what they cover.

    Balls are open, around rows at unit length. One is pure enough if the share of rows in it, of
    the pool and labelled, that have its centre's label is at least `threshold`. A ball holds its
    centre and rows equal to it, whatever their labels.

    Args:
        pool: (N, D).
        labelled: (M, D), the centres; at least one.
        labels: (N + M,) of the pool, then of the labelled rows.
        threshold: Share.
        most: Radius that no ball exceeds.

    Returns:
        Squared radii (M,), and whether each row of the pool is in a ball (N,).
    """
    num, num_labelled = len(pool), len(labelled)
    rows, centres = ExactPool.of(pool, unit=True), exact_rows(np.asarray(labelled), unit=True)

    def of_block(block: slice) -> tuple[Doubles, Flags]:
        some = centres.take(block)
        parts = [
            some.squared_distances(rows.block(slice(start, min(start + _COLUMNS, num))))
            for start in range(0, num, _COLUMNS)
        ]
        squares = np.concatenate([*parts, some.squared_distances(centres)], axis=1)
        own = zip(squares, labels[num:][block], strict=True)
        radii = np.array([_largest(row, labels == label, threshold, most) for row, label in own])
        return radii, np.asarray((squares[:, :num] < radii[:, None]).any(axis=0))

    height = max(_TABLE // (num + num_labelled), 1)
    found = map_blocks(of_block, num_labelled, block_rows=height)
    is_covered = np.zeros(num, bool)
    for _, covered in found:
        is_covered |= covered
    return np.concatenate([radii for radii, _ in found]), is_covered


def _largest(squares: Doubles, is_same: Flags, threshold: float, most: float) -> float:
    """The square of the largest radius up to `most` at which a ball is pure enough."""
    inside = squares < most * most
    # Exact squares are multiples of the grid: sorted as integers, with a last bit for the label.
    keys = (squares[inside] * (2 / _GRID)).astype(np.int64) + is_same[inside]
    keys.sort()
    reached = (keys >> 1) * _GRID
    purities = np.cumsum(keys & 1) / np.arange(1, len(keys) + 1)
    # Rows at one distance enter a ball together; after the last of them it may stop.
    following = np.append(reached[1:], most * most)
    is_end = following > reached
    ends = np.flatnonzero(is_end & (purities >= threshold))
    last = int(ends[-1]) if ends.size else int(np.argmax(is_end))
    return float(following[last])
