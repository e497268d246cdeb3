"""k-means: one sample for each of B clusters, and the choice of samples that stand for clusters."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Rows, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import ExactPool, ExactRows, Points
from strategies.kernels.kmeans import Clusters, block_rows, k_means, pool_of, squares_to


class KMeansSampling(EmbeddingStrategy):
    """Asks for one sample from each of B clusters of the pool: the one nearest its centre.

    The clusters are those of k-means on the embeddings as they are, seeded by k-means++. In the
    order of the clusters, each centre takes the nearest sample not yet taken; the smaller id where
    two are equally near. If fewer than B samples differ, there are as many clusters as differ, and
    they then go round taking further samples of their own. The score is the distance to the centre.

    Draws: those of `strategies.kernels.kmeans.k_means`, as for all strategies that cluster.

    Reference: Lloyd 1982, "Least squares quantization in PCM"; Arthur & Vassilvitskii 2007,
    "k-means++: the advantages of careful seeding". As a query strategy e.g. in DISTIL (`KMeans`).
    Cost: O(N B D) for a pass over the pool, some 5 to 30 passes of which later ones skip most rows;
    extra memory some 25 bytes for each number of the embeddings, of up to 64 million.
    Use: As a seed set or with few labels, where a batch should look like the pool. It knows nothing
    of the learner's doubts and nothing of what is labelled: with many labels take `badge`.
    Differs: Passes end when at most one sample in 1,000 changes cluster (scikit-learn: when centres
    move less than 1e-4 of the variance), which is where a pass lowers the inertia by some 1e-4. One
    seeding, not the best of ten, as DISTIL's: with B in the hundreds they differ by less than 1 %.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings"})
    is_prefix: ClassVar[bool] = False
    name: Literal["kmeans"] = "kmeans"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        assert candidates.embeddings is not None  # check_request saw that `needs` are given
        return pick_clusters(pool_of(candidates.embeddings), batch_size, rng)


def pick_clusters(
    pool: ExactPool, count: int, rng: np.random.Generator, *, weights: Doubles | None = None
) -> Picks:
    """Picks a representative of each of `count` clusters; see `representatives`."""
    clusters = k_means(pool, count, rng, weights=weights)
    rows, distances = representatives(pool, clusters, count)
    return Picks(
        rows=rows,
        scores=distances,
        notes={"clusters": len(clusters.centres), "passes": clusters.passes},
        # Cluster j is represented by pick j.
        maps={"cluster": clusters.labels, "stands_for": clusters.labels},
    )


def one_for_each_cluster(
    points: Points, wanted: Rows, count: int, rng: np.random.Generator
) -> Rows:
    """`count` of the `wanted` rows that stand for as many clusters of them, at unit length.

    Where no more than `count` are wanted, all of them, then others drawn uniformly.

    Draws: those of k-means, or one ``rng.permutation`` of the rows not wanted, in ascending order.

    Args:
        points: (N, D).
        wanted: Rows, ascending.
        count: Between 1 and N.
        rng: For the draws.
    """
    if len(wanted) <= count:
        others = np.setdiff1d(np.arange(len(points)), wanted)
        return np.concatenate([wanted, rng.permutation(others)[: count - len(wanted)]])
    pool = pool_of(points[wanted], unit=True)
    rows, _ = representatives(pool, k_means(pool, count, rng), count)
    return wanted[rows]


@one_blas_thread()
def representatives(pool: ExactPool, clusters: Clusters, count: int) -> tuple[Rows, Doubles]:
    """`count` distinct rows that stand for clusters, and their distances to the centres.

    The centres choose in their order, each the nearest row not yet taken, the first of equally near
    ones. Where there are fewer centres than `count`, they then go round and choose among the rows
    of their own clusters; a cluster with none left is passed over.

    Args:
        pool: What was clustered, N rows.
        clusters: The clusters.
        count: Between the number of clusters and N.
    """
    rows, squares = _nearest_rows(pool, clusters.centres)
    if len(rows) < count:
        left = np.setdiff1d(np.arange(len(pool)), rows)
        more = left[in_turns(clusters.labels[left], clusters.squares[left])[: count - len(rows)]]
        rows = np.concatenate([rows, more])
        squares = np.concatenate([squares, clusters.squares[more]])
    return rows, np.sqrt(squares)


def in_turns(labels: Rows, keys: Doubles) -> Rows:
    """Rows as clusters take them in turns, by label, each the smallest key it has left."""
    order = np.lexsort((keys, labels))
    ordered = labels[order]
    turns = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    rows: Rows = order[np.lexsort((ordered, turns))]
    return rows


def _nearest_rows(pool: ExactPool, centres: ExactRows) -> tuple[Rows, Doubles]:
    """The nearest row of each centre that no earlier one took, and its squared distance."""

    def of_block(block: slice) -> tuple[Rows, Doubles]:
        squares = squares_to(pool.block(block), centres)
        nearest = squares.argmin(axis=0)
        return block.start + nearest, squares[nearest, np.arange(len(centres))]

    step = block_rows(len(centres))
    found = map_blocks(of_block, len(pool), threads=pool.threads, block_rows=step)
    rows, squares = (np.stack(part) for part in zip(*found, strict=True))
    best = squares.argmin(axis=0)  # the first block of equals, hence the first row
    taken: dict[int, float] = {}
    for centre, block in enumerate(best):
        row, square = int(rows[block, centre]), float(squares[block, centre])
        if row in taken:
            row, square = _nearest_free(pool, centres.take(np.array([centre])), list(taken))
        taken[row] = square
    return np.array(list(taken), np.int64), np.array(list(taken.values()))


def _nearest_free(pool: ExactPool, centre: ExactRows, taken: list[int]) -> tuple[int, float]:
    """The row nearest a centre among those not taken, and its squared distance."""
    blocks = map_blocks(
        lambda block: squares_to(pool.block(block), centre)[:, 0], len(pool), threads=pool.threads
    )
    squares = np.concatenate(blocks)
    squares[taken] = np.inf
    row = int(squares.argmin())
    return row, float(squares[row])
