from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import log_softmax
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

from strategies import Candidates, MarginSampling, cluster_margin
from strategies.base import Doubles, Floats, Kept, QueryStrategy, Rows, Selection
from strategies.cluster_margin import ClusterMargin, average_linkage


def select(
    pool: Candidates, batch_size: int, strategy: QueryStrategy | None = None, seed: int = 0
) -> Selection:
    return (strategy or ClusterMargin()).select(pool, batch_size, np.random.default_rng(seed))


def of_points(points: Floats | Doubles, log_probs: Floats | Doubles) -> Candidates:
    return Candidates(
        ids=np.arange(len(points)),
        log_probs=log_probs.astype(np.float32),
        embeddings=points.astype(np.float32),
        labelled_embeddings=np.empty((0, points.shape[1]), np.float32),
    )


def with_margins(margins: list[float]) -> Doubles:
    gaps = np.array(margins)
    log_probs: Doubles = np.log(np.column_stack([(1 + gaps) / 2, (1 - gaps) / 2]))
    return log_probs


def random_pool(num: int, width: int = 4, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    points = (
        rng.standard_normal((num, width))
        + 6 * rng.standard_normal((5, width))[rng.integers(0, 5, num)]
    )
    return of_points(points, log_softmax(rng.standard_normal((num, 3))))


def partition(clusters: Rows) -> set[tuple[int, ...]]:
    """A clustering whatever its clusters are called."""
    return {tuple(np.flatnonzero(clusters == k).tolist()) for k in np.unique(clusters)}


def bought(pool: Candidates, rows: Rows) -> Candidates:
    """The pool after samples at `rows` have been labelled."""
    assert pool.embeddings is not None
    left = np.setdiff1d(np.arange(len(pool)), rows)
    return replace(pool.take(left), labelled_embeddings=pool.embeddings[rows])


def test_small_clusters_come_first_and_take_turns() -> None:
    # Two far, three near zero, one alone.
    points = np.array([50.0, 51, 0, 1, 2, 99])[:, None]
    pool = of_points(points, with_margins([0.1, 0.2, 0.3, 0.05, 0.6, 0.9]))
    strategy = ClusterMargin(threshold=5, within="margin")
    batch = select(pool, 6, strategy)
    assert batch.ids.tolist() == [5, 0, 3, 1, 2, 4]
    np.testing.assert_allclose(batch.scores, [0.9, 0.1, 0.05, 0.2, 0.3, 0.6], rtol=1e-6)
    assert batch.notes == {"clusters": 3, "clustered_anew": True}


def test_only_small_margins_are_grouped() -> None:
    points = np.array([50.0, 51, 0, 1, 2, 99])[:, None]
    pool = of_points(points, with_margins([0.1, 0.2, 0.3, 0.05, 0.6, 0.9]))
    # Of the four smallest margins, two are near zero and two far; that with 0.05 comes first.
    strategy = ClusterMargin(threshold=5, within="margin", ratio=2)
    assert select(pool, 2, strategy).ids.tolist() == [3, 0]
    assert select(pool, 3, replace_ratio(strategy, 1)).ids.tolist() == [3, 0, 1]


def replace_ratio(strategy: ClusterMargin, ratio: float) -> ClusterMargin:
    return strategy.model_copy(update={"ratio": ratio})


def test_with_a_cluster_for_each_sample_it_is_margin_sampling(pool: Candidates) -> None:
    assert pool.embeddings is not None
    every = np.concatenate([pool.embeddings, pool.labelled_embeddings])
    if len(np.unique(every, axis=0)) < len(every):
        return
    for within in ("random", "margin"):
        strategy = ClusterMargin(threshold=0, within=within)
        expected = select(pool, min(15, len(pool)), MarginSampling())
        assert select(pool, min(15, len(pool)), strategy).ids.tolist() == expected.ids.tolist()


def test_with_one_cluster_and_a_ratio_of_one_it_is_margin_sampling(pool: Candidates) -> None:
    strategy = ClusterMargin(max_clusters=1, ratio=1, within="margin")
    batch_size = min(15, len(pool))
    expected = select(pool, batch_size, MarginSampling())
    assert select(pool, batch_size, strategy).ids.tolist() == expected.ids.tolist()


def in_plain_turns(narrow: list[int], clusters: Rows, keys: Doubles, count: int) -> list[int]:
    """The law written down plainly: groups in a list, one sample of each in turn."""
    groups: dict[int, list[int]] = {}
    for row in narrow:
        groups.setdefault(int(clusters[row]), []).append(row)
    in_order = sorted(groups.values(), key=len)  # stable: equal sizes by the smallest margin
    queues = [sorted(group, key=lambda row: keys[row]) for group in in_order]
    picks: list[int] = []
    while len(picks) < count:
        picks += [queue.pop(0) for queue in queues if queue]
    return picks[:count]


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_law_given_the_clusters(seed: int) -> None:
    pool = random_pool(200, seed=seed)
    narrow = select(pool, 120, MarginSampling()).ids.tolist()
    strategy = ClusterMargin(max_clusters=12, ratio=3)
    batch = select(pool, 40, strategy, seed)
    clusters = batch.maps["cluster"].astype(np.int64)
    keys = np.random.default_rng(seed).random(200)
    assert batch.ids.tolist() == in_plain_turns(narrow, clusters, keys, 40)
    ranks = np.empty(200)
    ranks[narrow] = np.arange(120)
    by_margin = select(pool, 40, ClusterMargin(max_clusters=12, ratio=3, within="margin"))
    assert by_margin.ids.tolist() == in_plain_turns(narrow, clusters, ranks, 40)


@pytest.mark.parametrize("count", [1, 4, 25, 90])
def test_small_pools_are_clustered_as_scipy_does(count: int) -> None:
    pool = random_pool(90, seed=count)
    batch = select(pool, 5, ClusterMargin(max_clusters=count, mean_size=1))
    tree = linkage(pdist(pool.embeddings, "sqeuclidean"), method="average")
    expected = fcluster(tree, count, criterion="maxclust")
    assert partition(batch.maps["cluster"].astype(np.int64)) == partition(expected)


def test_a_threshold_is_a_root_mean_squared_distance() -> None:
    pool = random_pool(80, seed=3)
    batch = select(pool, 5, ClusterMargin(threshold=2.5))
    tree = linkage(pdist(pool.embeddings, "sqeuclidean"), method="average")
    expected = fcluster(tree, 2.5**2, criterion="distance")
    assert 1 < len(np.unique(expected)) < 80
    assert partition(batch.maps["cluster"].astype(np.int64)) == partition(expected)


def test_merging_groups_of_samples_goes_on_as_if_they_had_been_merged() -> None:
    rng = np.random.default_rng(4)
    points = rng.standard_normal((40, 3))
    squares = squareform(pdist(points, "sqeuclidean"))
    whole = average_linkage(squares.copy(), np.ones(40))
    # The first merges give groups; mean squared distances between these are exact averages.
    groups = np.arange(40)
    for first, second in whole.pairs[:15]:
        groups[groups == groups[second]] = groups[first]
    names = np.unique(groups)
    table = np.array(
        [[squares[np.ix_(groups == a, groups == b)].mean() for b in names] for a in names]
    )
    rest = average_linkage(table, np.array([np.sum(groups == name) for name in names], float))
    np.testing.assert_allclose(rest.squares, whole.squares[15:], rtol=1e-9)


def test_sums_over_centres_and_spreads_are_mean_squared_distances() -> None:
    rng = np.random.default_rng(5)
    points = rng.standard_normal((300, 4)).astype(np.float32)
    found, leaves = cluster_margin._leaves(points, unit=False)
    assert leaves.sizes.tolist() == [1.0] * 300
    np.testing.assert_allclose(
        leaves.squared_distances(), squareform(pdist(points, "sqeuclidean")), atol=1e-6
    )
    assert found.tolist() == list(range(300))


def test_so_they_are_for_groups_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_margin, "MOST_LEAVES", 12)
    points = np.random.default_rng(5).standard_normal((600, 3)).astype(np.float32)
    leaf_of, leaves = cluster_margin._leaves(points, unit=False)
    squares = squareform(pdist(points, "sqeuclidean"))
    means = [
        [squares[np.ix_(leaf_of == a, leaf_of == b)].mean() for b in range(12)] for a in range(12)
    ]
    off_diagonal = ~np.eye(12, dtype=bool)
    found = leaves.squared_distances()[off_diagonal]
    np.testing.assert_allclose(found, np.array(means)[off_diagonal], rtol=1e-6)
    assert leaves.sizes.tolist() == np.bincount(leaf_of).tolist()


def test_of_many_samples_groups_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = random_pool(600, seed=6)
    exact = select(pool, 5, ClusterMargin(max_clusters=5)).maps["cluster"].astype(np.int64)
    monkeypatch.setattr(cluster_margin, "MOST_LEAVES", 60)
    grouped = select(pool, 5, ClusterMargin(max_clusters=5)).maps["cluster"].astype(np.int64)
    assert partition(grouped) == partition(exact)  # five blobs well apart
    finer = select(pool, 5, ClusterMargin(max_clusters=500)).maps["cluster"]
    assert len(np.unique(finer)) == 60


def test_clusters_hold_ten_samples_on_average_or_more() -> None:
    assert select(random_pool(95), 3).notes["clusters"] == 9
    assert select(random_pool(95), 3, ClusterMargin(mean_size=1)).notes["clusters"] == 95
    assert select(random_pool(5), 3).notes["clusters"] == 1


@pytest.mark.parametrize("most_leaves", [40, 2048])
def test_labelling_samples_leaves_the_clusters_as_they_are(
    most_leaves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_margin, "MOST_LEAVES", most_leaves)
    pool = random_pool(150, seed=7)
    assert pool.embeddings is not None
    pool.embeddings[20:30] = pool.embeddings[4]
    first = select(pool, 30)
    later = bought(pool, first.ids.astype(np.int64))
    left = np.setdiff1d(np.arange(150), first.ids)
    again = select(later, 10)
    assert again.maps["cluster"].tolist() == first.maps["cluster"][left].tolist()


def test_kept_clusters_are_used_and_change_nothing() -> None:
    pool = random_pool(120, seed=8)
    first = select(pool, 20)
    later = bought(pool, first.ids.astype(np.int64))
    anew, kept = select(later, 15), select(replace(later, kept=first.keep), 15)
    assert (anew.notes["clustered_anew"], kept.notes["clustered_anew"]) == (True, False)
    assert anew.ids.tolist() == kept.ids.tolist()
    third = bought(later, np.searchsorted(later.ids, anew.ids).astype(np.int64))
    assert pool.embeddings is not None
    labelled = pool.embeddings[np.setdiff1d(np.arange(120), third.ids)]
    third = replace(third, labelled_embeddings=labelled, kept=kept.keep)
    assert select(third, 9).notes["clustered_anew"] is False


def test_kept_clusters_of_another_set_are_not_used() -> None:
    pool = random_pool(120, seed=9)
    assert pool.embeddings is not None
    kept = select(pool, 20).keep
    assert kept is not None
    moved = pool.embeddings.copy()
    moved[7, 1] = np.nextafter(moved[7, 1], np.float32(9))
    others = [
        replace(pool, embeddings=moved),
        pool.take(np.arange(119)),
        replace(pool, ids=np.arange(1, 121)),
        replace(pool, embeddings=pool.embeddings[[1, 0, *range(2, 120)]]),
        replace(pool, ids=pool.ids.astype(str)),
        replace(pool, labelled_embeddings=pool.embeddings[:1]),
    ]
    for other in others:
        batch = select(replace(other, kept=kept), 5)
        assert batch.notes["clustered_anew"] is True
        assert batch.ids.tolist() == select(other, 5).ids.tolist()
    assert select(replace(pool, kept=Kept(ids=pool.ids, arrays={})), 5).notes["clustered_anew"]


def test_within_a_group_any_sample_may_come_first() -> None:
    pool = of_points(np.zeros((6, 1)), with_margins([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    firsts = {int(select(pool, 1, seed=seed).ids[0]) for seed in range(60)}
    assert firsts == {0, 1, 2, 3, 4, 5}
    assert select(pool, 1, ClusterMargin(within="margin"), 5).ids.tolist() == [0]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1), st.data())
def test_any_batch_is_distinct_and_merges_rise(num: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, (num, 2)).astype(float)
    pool = of_points(points, log_softmax(rng.standard_normal((num, 3))))
    count = data.draw(st.integers(1, num))
    strategy = ClusterMargin(max_clusters=data.draw(st.integers(1, 5)), mean_size=1)
    batch = select(pool, count, strategy, seed)
    assert len(set(batch.ids.tolist())) == count
    merges = average_linkage(squareform(pdist(points, "sqeuclidean")), np.ones(num))
    assert merges.squares.tolist() == sorted(merges.squares.tolist())
    heights = np.sort(linkage(points, "single")[:, 2]) if num > 1 else np.empty(0)
    assert (merges.squares >= heights**2 - 1e-9).all()


def test_what_another_configuration_kept_is_not_taken_over() -> None:
    rng = np.random.default_rng(0)
    pool = of_points(rng.standard_normal((90, 5)), log_softmax(rng.standard_normal((90, 4))))
    coarse = ClusterMargin(max_clusters=2, mean_size=1)
    fine = ClusterMargin(max_clusters=30, mean_size=1)
    kept = select(pool, 5, coarse).keep
    again = select(replace(pool, kept=kept), 20, fine)
    assert again.ids.tolist() == select(pool, 20, fine).ids.tolist()
    assert again.notes["clustered_anew"]
    assert not select(replace(pool, kept=kept), 20, coarse).notes["clustered_anew"]
