"""UHerding: cover what the learner is unsure of."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.calibration import at_temperature, fit_temperature
from strategies.kernels.coverage import cover
from strategies.kernels.exact import Points, exact_rows
from strategies.kernels.similarity import Similarity, gaussian
from strategies.scores import margin

_SAME = 1e-3
_WIDTH = 1.0
_ROWS_AT_ONCE = 128


class UHerding(EmbeddingStrategy):
    """Asks for the sample that adds most to how well unsure candidates are covered.

    As in `maxherding`, a candidate is covered by ``max_j exp(-d² / h²)`` over labelled and picked
    samples, but counts by its uncertainty, 1 less the margin of its two likeliest classes. Two
    things turn coverage into uncertainty as labels come in: the temperature, which is high while
    the learner is right by chance only, and h, which shrinks as labelled samples get closer. The
    score is what a pick adds to the weighted sum.

    Reference: Bae, Oliveira & Sutherland 2024, "Uncertainty herding: one active learning method for
    all label budgets", https://arxiv.org/abs/2412.20644.
    Cost: O(N² D) time once, and up to log B times that with few labels; 0.5 GB extra memory.
    Use: where the same strategy is to serve from the first labels to the last.
    Differs: temperatures are tried on a grid, and without validation samples it is 1. Labelled
    samples closer than 0.001 are the same place and do not set h. The definition follows public
    descriptions, not checked against the paper's text.
    """

    name: Literal["uherding"] = "uherding"
    width: float | None = Field(None, ge=1e-3, le=1e3)
    """h; by default the smallest distance between two labelled samples, of embeddings of unit
    length, or 1 where there are none."""

    temperature: float | None = Field(None, ge=1e-3, le=1e3)
    """What logits are divided by; by default whichever makes the validation samples' confidence
    agree best with their accuracy."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        needs: frozenset[Signal] = frozenset({"embeddings", "labelled_embeddings", "log_probs"})
        return needs | {"validation"} if self.temperature is None else needs

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, labelled = candidates.embeddings, candidates.labelled_embeddings
        assert embeddings is not None  # check_request saw that `needs` are given
        assert labelled is not None
        width, temperature = self._width(labelled), self._temperature(candidates)
        similarity = Similarity.of_embeddings(embeddings, shape=gaussian(width))
        reached = weights = None
        scale = 1.0
        if len(labelled):
            weights = _uncertainties(candidates, temperature)
            # Brought to size by a power of two, so that a learner that is sure of everything is
            # not rounded to one that has no doubts.
            scale = float(2.0 ** np.ceil(np.log2(weights.max()))) if weights.any() else 1.0
            weights /= scale
            reached = weights * similarity.nearest(similarity.outside(labelled))
        result = cover(similarity, batch_size, reached=reached, weights=weights)
        return Picks(
            rows=result.rows,
            scores=result.gains * scale,
            notes={"width": width, "temperature": temperature},
            maps={"stands_for": result.stands_for},
        )

    def _width(self, labelled: Points) -> float:
        if self.width is not None:
            return self.width
        distance = smallest_distance(labelled)
        return distance if np.isfinite(distance) else _WIDTH

    def _temperature(self, candidates: Candidates) -> float:
        if self.temperature is not None:
            return self.temperature
        assert candidates.validation is not None
        return fit_temperature(candidates.validation.log_probs, candidates.validation.labels)


def _uncertainties(candidates: Candidates, temperature: float) -> Doubles:
    assert candidates.log_probs is not None
    weights: Doubles = 1 - margin(at_temperature(candidates.log_probs, temperature))
    return np.clip(weights, 0.0, 1.0)


@one_blas_thread()
def smallest_distance(points: Points) -> float:
    """Between two rows brought to unit length, of those farther apart than 0.001; inf if none."""
    rows = exact_rows(np.asarray(points), unit=True)

    def of_block(block: slice) -> float:
        squares = rows.take(block).squared_distances(rows)
        return float(squares.min(where=squares > _SAME**2, initial=np.inf))

    return float(
        np.sqrt(min(map_blocks(of_block, len(rows), block_rows=_ROWS_AT_ONCE), default=np.inf))
    )
