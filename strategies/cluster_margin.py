"""Cluster-Margin: small margins, spread over the clusters of the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Kept, Picks, Rows, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.exact import ExactPool, ExactRows, Points, exact_rows
from strategies.kernels.keyed import Words, row_marks, word_of
from strategies.kernels.kmeans import k_means, pool_of
from strategies.kmeans import in_turns
from strategies.uncertainty import narrowest

MOST_LEAVES = 2048
"""Samples that are merged one by one; more are gathered into as many groups before."""

_LEAF_TOLERANCE = 1e-2
_ROWS_AT_ONCE = 4096  # the grid of a sum that rounds: not that of blocks, which may change


class ClusterMargin(EmbeddingStrategy):
    """Asks for samples with small margins, in turns from each cluster, the smallest first.

    Candidates and labelled samples are clustered together by agglomeration with average linkage:
    the two clusters nearest each other are merged, until they are farther apart than `threshold`
    or, without one, until at most `max_clusters` are left that hold `mean_size` samples or more on
    average. Of the candidates, the `ratio` B with the smallest margins p1 - p2 are grouped by
    cluster. The groups take turns, in ascending order of size and, of equal size, of their smallest
    margin; each turn asks for one sample, until there are B. The score is the margin.

    The clustering depends on nothing but the set of embeddings, labelled or not. It is therefore
    the same in every round as long as embeddings are (`embedding: encoder`), is kept from round to
    round, and is found anew whenever the set has changed.

    Draws: with ``within: random`` one ``rng.random(N)``, by which samples of a group are ordered.

    Reference: Citovsky, DeSalvo, Gentile, Karydas, Rajagopalan, Rostamizadeh & Kumar 2021, "Batch
    active learning at scale", https://arxiv.org/abs/2107.14263, section 2.
    Cost: O(N K D) for a pass of k-means with K = 2,048 groups, some 5 to 10 passes, and O(K^2)
    time and memory to merge them (100 MB), besides some 25 bytes for each number of the embeddings;
    once the clustering is kept, O(N C + N D) a round.
    Use: With large batches, where `margin` would ask for many alike. With small ones, or when
    clusters and classes disagree, it is no better than `margin`.
    Differs: Average linkage averages squared distances, since for groups of samples those follow
    from centres and spreads without another look at their members. Beyond 2,048 samples k-means
    gathers them into 2,048 groups first, as from a fixed seed (the paper merges all, on many
    machines); clusters finer than these groups cannot be had. The paper's `ratio`, its threshold
    for each data set, and the order among groups of equal size are not checked against its text.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset(
        {"log_probs", "embeddings", "labelled_embeddings"}
    )
    is_prefix: ClassVar[bool] = False
    name: Literal["cluster_margin"] = "cluster_margin"
    ratio: float = Field(10, ge=1)
    """How many samples with small margins are looked at for each one asked for."""
    threshold: float | None = Field(None, ge=0, le=1e100)
    """Root mean squared distance beyond which clusters are not merged."""
    max_clusters: int = Field(500, ge=1)
    """Most clusters, where no threshold is given."""
    mean_size: float = Field(10, ge=1)
    """Samples a cluster holds on average, at least, where no threshold is given."""
    within: Literal["random", "margin"] = "random"
    """Which sample of a group comes first: any, as in the paper, or that of smallest margin."""
    normalise: bool = False
    """Whether embeddings are brought to unit length first."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, embeddings = candidates.log_probs, candidates.embeddings
        labelled = candidates.labelled_embeddings
        assert log_probs is not None  # check_request saw that `needs` are given
        assert embeddings is not None
        assert labelled is not None
        points = np.concatenate([embeddings, labelled]) if len(labelled) else embeddings
        marks = row_marks(points)
        # Tells each candidate's embedding, the set of all, and how they are clustered.
        how = (self.threshold, self.max_clusters, self.mean_size, self.normalise)
        fits = marks[: len(candidates)] + (marks.sum(dtype=np.uint64) ^ word_of(repr(how)))
        clusters = _still_fitting(candidates, fits)
        is_new = clusters is None
        if clusters is None:
            clusters = self.clustered(points, marks)[: len(candidates)]
        num_narrow = min(int(np.ceil(self.ratio * batch_size)), len(candidates))
        narrow = narrowest(log_probs, num_narrow)
        order: Doubles = np.arange(num_narrow, dtype=np.float64)
        if self.within == "random":
            order = rng.random(len(candidates))[narrow.rows]
        turns = _turns(clusters[narrow.rows], order)[:batch_size]
        arrays = {"cluster": clusters, "fits": fits}
        return Picks(
            rows=narrow.rows[turns],
            scores=narrow.scores[turns],
            notes={"clusters": len(np.unique(clusters)), "clustered_anew": is_new},
            maps={"cluster": clusters},
            keep=Kept(ids=candidates.ids, arrays=arrays),
        )

    @one_blas_thread()
    def clustered(self, points: Points, marks: Words) -> Rows:
        """The cluster of each point, (N,); of equal points, and of the same set, the same."""
        # In the order of their marks, points are the same whichever of them are labelled by now.
        order = np.argsort(marks, kind="stable")
        leaf_of, leaves = _leaves(points[order], unit=self.normalise)
        merges = average_linkage(leaves.squared_distances(), leaves.sizes)
        num_leaves = len(leaves.sizes)
        if self.threshold is None:
            most = int(len(points) / self.mean_size)
            num_merges = num_leaves - max(1, min(self.max_clusters, most, num_leaves))
        else:
            num_merges = int(np.count_nonzero(merges.squares <= self.threshold**2))
        joined = merges.pairs[:num_merges].T
        from scipy.sparse import coo_array  # a tenth of a second, only where it is used
        from scipy.sparse.csgraph import connected_components

        links = coo_array((np.ones(num_merges), tuple(joined)), shape=(num_leaves, num_leaves))
        clusters = np.empty(len(points), np.int64)
        clusters[order] = connected_components(links, directed=False)[1][leaf_of]
        return clusters


@dataclass(frozen=True, eq=False)
class Leaves:
    """Groups of samples that are merged as wholes; single samples where these are few."""

    centres: ExactRows  # (K,) means
    sizes: Doubles  # (K,) members
    spreads: Doubles  # (K,) mean squared distance of the members to their mean

    def squared_distances(self) -> Doubles:
        """(K, K) mean squared distances between the members of two leaves."""
        table = self.centres.squared_distances(self.centres)
        table += self.spreads[:, None] + self.spreads
        return table


@dataclass(frozen=True, eq=False)
class Merges:
    """Which clusters are merged, nearest first; each is called by one of its leaves."""

    pairs: Rows  # (K - 1, 2)
    squares: Doubles  # (K - 1,) mean squared distance between the members of the two


def average_linkage(squares: Doubles, sizes: Doubles) -> Merges:
    """All merges by average linkage, by the nearest-neighbour chain. O(K^2).

    Of equally near clusters the one with the smallest leaf is the nearest, but for the one before
    in the chain. Lance & Williams 1967 for the update; Murtagh 1983 for the chain.

    Args:
        squares: (K, K) symmetric, mean squared distances of the members of leaves; overwritten.
        sizes: (K,) members.
    """
    np.fill_diagonal(squares, np.inf)
    sizes = sizes.copy()
    is_there = np.ones(len(sizes), np.bool_)
    chain: list[int] = []
    pairs, heights = np.empty((len(sizes) - 1, 2), np.int64), np.empty(len(sizes) - 1)
    num_merged = 0
    while num_merged < len(pairs):
        if not chain:
            chain.append(int(is_there.argmax()))
        last = chain[-1]
        nearest = int(squares[last].argmin())
        if len(chain) == 1 or squares[last, nearest] < squares[last, chain[-2]]:
            chain.append(nearest)
            continue
        first, second = sorted((chain.pop(), chain.pop()))
        pairs[num_merged], heights[num_merged] = (first, second), squares[first, second]
        num_merged += 1
        total = sizes[first] + sizes[second]
        # The entries of the two themselves, infinite on the diagonal, stay so.
        joint = (sizes[first] * squares[first] + sizes[second] * squares[second]) / total
        squares[first], squares[:, first] = joint, joint
        squares[second], squares[:, second] = np.inf, np.inf
        sizes[first], is_there[second] = total, False
    order = np.argsort(heights, kind="stable")
    return Merges(pairs[order], heights[order])


def _leaves(points: Points, *, unit: bool) -> tuple[Rows, Leaves]:
    pool = pool_of(points, unit=unit)
    if len(points) <= MOST_LEAVES:
        every = np.arange(len(points))
        return every, Leaves(pool.at(every), np.ones(len(points)), np.zeros(len(points)))
    # A seed of its own: the clustering must not differ from round to round.
    rng = np.random.Generator(np.random.PCG64(0))
    found = k_means(pool, MOST_LEAVES, rng, tolerance=_LEAF_TOLERANCE)
    # Without groups that the last pass left empty.
    _, leaf_of, sizes = np.unique(found.labels, return_inverse=True, return_counts=True)
    centres = exact_rows(_sums(pool, leaf_of, len(sizes)) / sizes[:, None])
    squares = np.empty(len(points))

    def of_block(block: slice) -> None:
        gaps = _plain(pool.block(block)) - _plain(centres.take(leaf_of[block]))
        squares[block] = np.einsum("nd,nd->n", gaps, gaps)

    map_blocks(of_block, len(points))
    spreads = np.bincount(leaf_of, squares) / sizes
    return leaf_of, Leaves(centres, sizes.astype(np.float64), spreads)


def _sums(pool: ExactPool, labels: Rows, count: int) -> Doubles:
    """(k, D) sums of the rows of each group, added up in the order of the rows."""
    from scipy.sparse import csr_array

    sums = np.zeros((count, pool.points.shape[1]))
    for start in range(0, len(pool), _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, len(pool)))
        every = np.arange(rows.stop - rows.start)
        members = csr_array((np.ones(len(every)), (labels[rows], every)), (count, len(every)))
        sums += members @ _plain(pool.block(rows))
    return sums


def _plain(rows: ExactRows) -> Doubles:
    return rows.values * rows.scales[:, None]


def _turns(clusters: Rows, order: Doubles) -> Rows:
    """Places in the order of turns, small clusters first and of equal size the one seen first."""
    _, firsts, cluster_of, sizes = np.unique(
        clusters, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(sizes), np.int64)
    rank[np.lexsort((firsts, sizes))] = np.arange(len(sizes))
    return in_turns(rank[cluster_of], order)


def _still_fitting(candidates: Candidates, fits: Words) -> Rows | None:
    """The clusters of the candidates as kept, if they were found from this very set of points."""
    kept = candidates.kept
    if kept is None or not {"cluster", "fits"} <= kept.arrays.keys() or not len(kept.ids):
        return None
    if kept.ids.dtype.kind != candidates.ids.dtype.kind:
        return None
    places = np.minimum(np.searchsorted(kept.ids, candidates.ids), len(kept.ids) - 1)
    is_same = (kept.ids[places] == candidates.ids) & (kept.arrays["fits"][places] == fits)
    return kept.arrays["cluster"][places].astype(np.int64) if is_same.all() else None
