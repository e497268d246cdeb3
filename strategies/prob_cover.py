"""ProbCover: cover as much of the pool as possible with balls of one size."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks, Rows, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.kcentre import k_centre
from strategies.kernels.keyed import item_noise
from strategies.kernels.kmeans import k_means, pool_of
from strategies.kernels.radius import (
    FARTHEST,
    Cover,
    UnitRows,
    pure_radius,
    radius_graph,
    rows_near,
)
from strategies.kernels.top import first_rows


class CoveringStrategy(EmbeddingStrategy):
    """Covers the pool with balls around what is labelled or asked for."""

    delta: float | None = Field(default=None, ge=1e-6)
    """Radius of a ball, between rows at unit length; found by purity where none is given."""

    purity: float = Field(default=0.95, gt=0, le=1)
    """Share of balls that hold samples of one cluster only, at the largest radius found."""

    purity_classes: int = Field(default=7, ge=1)
    """Clusters for that, as many as there are classes; 7 is FER2013's number."""

    fallback: Literal["coreset", "random"] = "coreset"
    """How a batch goes on once everything is covered."""

    def radius(self, rows: UnitRows, rng: np.random.Generator) -> float:
        """The radius given, or the largest that leaves balls pure among labelled and candidates.

        Draws from `rng` what k-means draws, and only where no radius is given.
        """
        if self.delta is not None:
            return self.delta
        count = min(self.purity_classes, len(rows))
        if count == 1:
            return FARTHEST
        return pure_radius(rows, clusters(rows, count, rng), self.purity)

    def rest(
        self, rows: UnitRows, candidates: Candidates, picks: Rows, count: int, key: int
    ) -> Rows:
        """`count` more candidates after `picks`, by the fallback."""
        num = len(candidates)
        left = np.setdiff1d(np.arange(num), picks)
        if count == 0:
            return left[:0]
        if self.fallback == "random":
            return left[first_rows(item_noise(candidates.ids[left], key), count)]
        centres = np.concatenate([rows.singles[num:], rows.singles[picks]])
        return left[k_centre(rows.singles[left], count, centres)[0]]


class ProbCover(CoveringStrategy):
    """Asks for the samples whose balls of radius delta cover most of what is not yet covered.

    Rows are divided by their length, and samples nearer than delta are neighbours. Whatever is near
    a labelled sample is covered; each pick is the candidate with most uncovered neighbours, itself
    among them, and covers them. Once everything is covered the batch goes on with `fallback`:
    greedy k-centre between rows at unit length, or at random. The score is how many candidates a
    pick newly covered, so 0 for the fallback.

    Without `delta` the pool and the labelled samples are clustered by k-means, and delta is the
    largest radius at which the share `purity` of all balls holds samples of one cluster only. It is
    found anew each time and in the notes; to hold it fixed over rounds, give it.

    Draws: one key for the fallback at random, then what k-means draws.

    Reference: Yehuda, Dekel, Hacohen & Weinshall 2022, "Active learning through a covering lens",
    https://arxiv.org/abs/2205.11320.
    Cost: N^2 D / 2 multiplications, as many again and a k-means without `delta`; then time in
    proportion to the pairs of neighbours. Memory: 4 bytes a neighbour, twice while they are
    collected, and 4 N D bytes of rows; k-means takes 12 N D bytes before that. 28,000 samples of
    width 512 with 300 neighbours each: 165 MB, or 370 MB without `delta`. More than 2^28 neighbours
    are refused.
    Use: for the first batches, when labels are few, on embeddings that were learned without labels
    (`embedding: encoder`). Not with many labels, where everything is covered and uncertainty is the
    better guide, nor beyond some 100,000 samples (see subsample).
    Differs: delta is computed from its definition, where the paper searches a grid; its k-means
    includes the labelled samples. The authors' code leaves out the last N mod 500 samples and
    repeats a sample once everything is covered.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "labelled_embeddings"})
    name: Literal["probcover"] = "probcover"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        assert candidates.embeddings is not None  # check_request saw that `needs` are given
        assert candidates.labelled_embeddings is not None
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        rows = UnitRows.of(candidates.embeddings, candidates.labelled_embeddings)
        delta = self.radius(rows, rng)
        covered = rows_near(rows, len(candidates), delta)
        cover, gains = Cover(radius_graph(rows, len(candidates), delta), covered), list[int]()
        while len(gains) < batch_size and cover.degrees.any():
            gains.append(cover.take(int(np.argmax(cover.degrees))))
        picks = np.array(cover.picks, np.int64)
        num_more = batch_size - len(picks)
        return Picks(
            rows=np.concatenate([picks, self.rest(rows, candidates, picks, num_more, key)]),
            scores=np.array([*gains, *[0] * num_more], np.float64),
            notes={"coverage_picks": len(picks), "delta": delta},
            maps={"stands_for": cover.covered_by},
        )


def clusters(rows: UnitRows, count: int, rng: np.random.Generator) -> Rows:
    """Clusters of rows at unit length by k-means, (n,)."""
    return k_means(pool_of(rows.singles, unit=True), count, rng).labels
