"""TypiClust: the most typical sample of each cluster not yet known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Rows, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import ExactPool, ExactRows
from strategies.kernels.kmeans import k_means, pool_of

# Clusters are visited by size and their samples judged by their neighbours, so the last few samples
# to change cluster hardly matter: this is where a pass lowers the inertia by less than 1 in 1,000,
# and below that of the mini-batches of the authors' code.
_TOLERANCE = 1e-2
_SOFTENING = 1e-5  # of a mean distance of zero
_PICKS_AT_ONCE = 256  # before neighbours are looked up anew
_TABLE_SIZE = 2**22
_CLUSTERS_AT_ONCE = 8


class TypiClust(EmbeddingStrategy):
    """Asks for the most typical sample of each cluster, clusters without labels first.

    Labelled samples and candidates are clustered together by k-means, into M + B clusters but no
    more than `max_clusters`. Clusters of more than `min_cluster_size` samples come first, among
    them those with fewest labelled samples, then the largest; in that order they take turns. A turn
    picks, of the cluster's n candidates not yet picked, the most typical: the one with the smallest
    mean distance to its nearest min(`neighbours`, n / 2) of them; the smaller id where two are
    equal. The score is the typicality, 1 / (mean distance + 1e-5), and 0 for a last one without
    neighbours.

    Reference: Hacohen, Dekel & Weinshall 2022, "Active learning on a budget: opposite strategies
    suit high and low budgets", https://arxiv.org/abs/2202.02794, section 3 (TPC_RP).
    Cost: O(N K D) for a pass of k-means with K clusters, some 5 to 10 passes, and O(N^2 D / K) for
    neighbours; extra memory some 25 bytes for each number of the embeddings, of up to 64 million.
    Use: With few labels, below 5 to 25 a class, and for a seed set, on embeddings that owe nothing
    to the labels (`embedding: encoder`). With more labels take `margin` or `badge`.
    Differs: As in the authors' code, distances are squared, though the paper writes plain ones
    (`distance`), and clusters hold 6 samples at least. Their code runs mini-batches from 51
    clusters on; here all samples take part in each pass, until at most 1 in 100 changes cluster.
    Where clusters of that size have no candidate left, they are passed over, and smaller ones take
    turns at the end; their code stops with an error.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "labelled_embeddings"})
    is_prefix: ClassVar[bool] = False
    name: Literal["typiclust"] = "typiclust"
    distance: Literal["squared", "plain"] = "squared"
    """Which Euclidean distance to neighbours is averaged."""
    neighbours: int = Field(20, ge=1)
    """How many neighbours a sample is judged by, at most."""
    max_clusters: int = Field(500, ge=1)
    """Most clusters, however many samples are labelled or asked for."""
    min_cluster_size: int = Field(6, ge=1)
    """Samples, labelled or not, below which a cluster has to wait for the others."""
    normalise: bool = True
    """Whether embeddings are brought to unit length first."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, labelled = candidates.embeddings, candidates.labelled_embeddings
        assert embeddings is not None  # check_request saw that `needs` are given
        assert labelled is not None
        points = np.concatenate([embeddings, labelled]) if len(labelled) else embeddings
        pool = pool_of(points, unit=self.normalise)
        count = min(len(labelled) + batch_size, self.max_clusters)
        clusters = k_means(pool, count, rng, tolerance=_TOLERANCE)
        rows, typicalities = pick_typical(
            pool,
            clusters.labels,
            len(candidates),
            batch_size,
            neighbours=self.neighbours,
            min_cluster_size=self.min_cluster_size,
            plain=self.distance == "plain",
        )
        return Picks(
            rows=rows,
            scores=typicalities,
            notes={"clusters": len(clusters.centres), "passes": clusters.passes},
            maps={"cluster": clusters.labels[: len(candidates)]},
        )


@one_blas_thread()
def pick_typical(
    pool: ExactPool,
    labels: Rows,
    num_candidates: int,
    count: int,
    *,
    neighbours: int,
    min_cluster_size: int,
    plain: bool,
) -> tuple[Rows, Doubles]:
    """The rows that clusters pick in their turns, in order, and their typicalities.

    Args:
        pool: Candidates, then labelled samples.
        labels: Their clusters.
        num_candidates: N; the rows from there on are labelled.
        count: B, between 1 and N.
        neighbours: See `TypiClust`, as for the following ones.
        min_cluster_size: Smaller clusters take turns once the others have no candidate left.
        plain: Whether distances are not squared.
    """
    turns = _turns(labels, num_candidates, min_cluster_size)[:count]
    clusters, num_picks = np.unique(turns, return_counts=True)
    of_candidates = labels[:num_candidates]
    order = np.argsort(of_candidates, kind="stable")
    starts = np.searchsorted(of_candidates[order], clusters, side="left")
    stops = np.searchsorted(of_candidates[order], clusters, side="right")

    def of_block(block: slice) -> list[tuple[Rows, Doubles]]:
        picked = []
        for start, stop, num in zip(starts[block], stops[block], num_picks[block], strict=True):
            members = order[start:stop]
            places, scores = _most_typical(pool.at(members), int(num), neighbours, plain=plain)
            picked.append((members[places], scores))
        return picked

    blocks = map_blocks(of_block, len(clusters), threads=pool.threads, block_rows=_CLUSTERS_AT_ONCE)
    by_cluster = [picks for block in blocks for picks in block]
    rows, scores = (np.concatenate(part) for part in zip(*by_cluster, strict=True))
    # A stable sort of the turns lists them cluster by cluster, as the picks are listed.
    places = np.argsort(turns, kind="stable")
    ordered_rows, ordered_scores = np.empty_like(rows), np.empty_like(scores)
    ordered_rows[places], ordered_scores[places] = rows, scores
    return ordered_rows, ordered_scores


def _turns(labels: Rows, num_candidates: int, min_cluster_size: int) -> Rows:
    """The cluster of each turn, (N,), until no candidate is left."""
    sizes = np.bincount(labels)
    num_labelled = np.bincount(labels[num_candidates:], minlength=len(sizes))
    is_small = sizes < min_cluster_size
    order = np.lexsort((-sizes, num_labelled, is_small))
    num_free = (sizes - num_labelled)[order]
    places = np.repeat(np.arange(len(order)), num_free)
    turns = np.arange(num_candidates) - np.repeat(np.cumsum(num_free) - num_free, num_free)
    clusters: Rows = order[places]
    return clusters[np.lexsort((places, turns, is_small[clusters]))]


def _most_typical(
    members: ExactRows, count: int, neighbours: int, *, plain: bool
) -> tuple[Rows, Doubles]:
    """Places of the members of a cluster picked one after the other, and their typicalities."""
    left = np.arange(len(members))
    picked: list[int] = []
    scores: list[float] = []
    while len(picked) < count:
        wave = min(count - len(picked), _PICKS_AT_ONCE)
        near = _Neighbours.of(members.take(left), neighbours + wave - 1, plain=plain)
        for _ in range(wave):
            place, score = near.take_most_typical(neighbours)
            picked.append(int(left[place]))
            scores.append(score)
        left = left[~near.is_taken]
    return np.array(picked, np.int64), np.array(scores)


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """The nearest neighbours of each of n members, of which some have been taken."""

    distances: Doubles  # (n, w) ascending
    places: Rows  # (n, w) whose distances these are
    is_taken: npt.NDArray[np.bool_]  # (n,)

    @classmethod
    def of(cls, members: ExactRows, width: int, *, plain: bool) -> _Neighbours:
        """The `width` nearest, which are as many as `neighbours` until the rest is taken."""
        num = len(members)
        width = min(width, num - 1)
        distances, places = np.empty((num, width)), np.empty((num, width), np.int64)
        step = max(_TABLE_SIZE // num, 1)
        for start in range(0, num, step):
            rows = slice(start, min(start + step, num))
            table = members.take(rows).squared_distances(members)
            table[np.arange(len(table)), np.arange(num)[rows]] = np.inf
            # Which of equally far ones are kept makes no difference to any mean.
            nearest = np.argpartition(table, width, axis=1)[:, :width]
            unordered = np.take_along_axis(table, nearest, axis=1)
            order = np.argsort(unordered, axis=1)
            distances[rows] = np.take_along_axis(unordered, order, axis=1)
            places[rows] = np.take_along_axis(nearest, order, axis=1)
        if plain:
            np.sqrt(distances, out=distances)
        return cls(distances, places, np.zeros(num, np.bool_))

    def take_most_typical(self, neighbours: int) -> tuple[int, float]:
        """Takes the member with the smallest mean distance, and returns it with its typicality."""
        num_left = int(np.count_nonzero(~self.is_taken))
        num_near = min(neighbours, num_left // 2)
        is_free = ~self.is_taken[self.places]
        is_near = is_free & (np.cumsum(is_free, axis=1) <= num_near)
        # Added one after the other, so that what is left out leaves no trace in the rounding.
        sums = np.where(is_near, self.distances, 0.0).cumsum(axis=1)
        totals = sums[:, -1] if sums.shape[1] else np.zeros(len(sums))
        totals[self.is_taken] = np.inf
        place = int(totals.argmin())
        self.is_taken[place] = True
        return place, 1 / (totals[place] / num_near + _SOFTENING) if num_near else 0.0
