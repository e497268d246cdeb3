from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates
from strategies.base import Doubles, Floats, Rows, Selection
from strategies.kernels.exact import exact_rows
from strategies.kernels.kmeans import Clusters, k_means, pool_of, squares_to
from strategies.kmeans import KMeansSampling, in_turns, one_for_each_cluster, representatives


def select(pool: Candidates, batch_size: int, seed: int = 0) -> Selection:
    return KMeansSampling().select(pool, batch_size, np.random.default_rng(seed))


def of_points(points: Floats | Doubles) -> Candidates:
    return Candidates(ids=np.arange(len(points)), embeddings=points.astype(np.float32))


def fixed(points: Doubles, centres: Doubles) -> Clusters:
    """The clusters of centres that somebody chose."""
    pool = pool_of(points)
    assert pool.mean is not None
    rows = exact_rows(centres, mean=pool.mean)
    table = squares_to(pool.at(np.arange(len(points))), rows)
    return Clusters(table.argmin(axis=1), rows, table.min(axis=1), 0)


def nearest_untaken(points: Doubles, centres: Doubles) -> list[int]:
    """The law written down plainly: centres in order, each its nearest row not yet taken."""
    taken: list[int] = []
    for centre in centres:
        squares = ((points - centre) ** 2).sum(axis=1)
        squares[taken] = np.inf
        taken.append(int(squares.argmin()))
    return taken


def test_four_blobs_give_the_middle_of_each() -> None:
    cross = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    corners = np.array([[0, 0], [50, 0], [0, 50], [50, 50]])
    points = np.concatenate([corner + cross for corner in corners])
    batch = select(of_points(points), 4)
    assert sorted(batch.ids.tolist()) == [0, 5, 10, 15]
    assert batch.scores.tolist() == [0, 0, 0, 0]
    assert batch.maps["cluster"][batch.ids].tolist() == [0, 1, 2, 3]
    assert (batch.ids[batch.maps["stands_for"]] == np.repeat([0, 5, 10, 15], 5)).all()


def test_the_score_is_the_distance_to_the_centre() -> None:
    batch = select(of_points(np.array([[0, 0], [6, 8]])), 1)
    assert batch.ids.tolist() == [0]  # both are equally near
    assert batch.scores.tolist() == [5]


@pytest.mark.parametrize("seed", range(5))
def test_representatives_are_the_nearest_rows_not_yet_taken(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, centres = rng.standard_normal((300, 2)), 0.2 * rng.standard_normal((60, 2))
    rows, distances = representatives(pool_of(points), fixed(points, centres), 60)
    expected = nearest_untaken(points, centres)  # many centres here compete for the same rows
    assert rows.tolist() == expected
    exact = np.sqrt(((points[expected] - centres) ** 2).sum(axis=1))
    np.testing.assert_allclose(distances, exact, atol=1e-7)


def test_equals_the_plain_law_given_the_centres(pool: Candidates) -> None:
    assert pool.embeddings is not None
    exact = pool_of(pool.embeddings)
    for count in (1, 5):
        clusters = k_means(exact, min(count, len(pool)), np.random.default_rng(0))
        centres = clusters.centres.values * clusters.centres.scales[:, None]
        every = exact.at(np.arange(len(pool)))
        expected = nearest_untaken(every.values * every.scales[:, None], centres)
        batch = select(pool, len(expected))
        assert batch.ids.tolist() == pool.ids[expected].tolist()


def test_a_second_centre_at_the_same_place_takes_the_next_row() -> None:
    points = np.array([[0.0, 0], [0, 1], [9, 9], [9, 8]])
    rows, _ = representatives(
        pool_of(points), fixed(points, np.array([[0.0, 0], [0, 0], [9, 9]])), 3
    )
    assert rows.tolist() == [0, 1, 2]


def test_of_samples_all_alike_the_first_ids_are_asked_for() -> None:
    batch = select(of_points(np.ones((9, 3))), 5)
    assert batch.ids.tolist() == [0, 1, 2, 3, 4]
    assert batch.notes["clusters"] == 1


def test_where_few_samples_differ_clusters_go_round() -> None:
    points = np.array([0, 0, 0, 0, 7, 7, 20])[:, None]
    batch = select(of_points(points), 6)
    assert sorted(batch.ids[:3].tolist()) == [0, 4, 6]
    second = batch.ids[3:5].tolist()
    assert sorted(second) == [1, 5]
    assert batch.ids[5] == 2  # the others have none left
    assert not batch.scores.any()


def test_turns_by_hand() -> None:
    labels = np.array([1, 0, 1, 1, 0])
    keys = np.array([5.0, 9, 3, 4, 8])
    # Cluster 0 takes 8, then 9; cluster 1 takes 3, 4, 5.
    assert in_turns(labels, keys).tolist() == [4, 2, 1, 3, 0]


def test_clusters_are_wanted_rows_only() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((200, 4))
    wanted = np.sort(rng.choice(200, 50, replace=False))
    rows = one_for_each_cluster(points, wanted, 12, np.random.default_rng(1))
    assert len(set(rows.tolist())) == 12
    assert set(rows.tolist()) <= set(wanted.tolist())


def test_wanted_rows_are_clustered_by_direction() -> None:
    rng = np.random.default_rng(4)
    points = rng.standard_normal((200, 4))
    longer = points * 2.0 ** rng.integers(-4, 5, (200, 1))
    wanted = np.arange(10, 150)
    one, other = (
        one_for_each_cluster(rows, wanted, 12, np.random.default_rng(1)).tolist()
        for rows in (points, longer)
    )
    assert one == other


def test_too_few_wanted_rows_come_first_and_others_are_drawn() -> None:
    wanted = np.array([3, 8])
    counts = np.zeros(12)
    for seed in range(600):
        rows = one_for_each_cluster(np.ones((12, 2)), wanted, 5, np.random.default_rng(seed))
        assert rows[:2].tolist() == [3, 8]
        counts[rows[2:]] += 1
    assert not counts[wanted].any()
    others = np.delete(counts, wanted)
    assert np.abs(others - 180).max() < 4.5 * np.sqrt(600 * 0.3 * 0.7)


def test_far_from_the_origin_clusters_are_as_near_it() -> None:
    rng = np.random.default_rng(2)
    points = np.round(rng.standard_normal((300, 5)) * 64) / 64  # exact in float32 even far away
    near, far = select(of_points(points), 20), select(of_points(points + 4096), 20)
    assert near.ids.tolist() == far.ids.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=25), st.data())
def test_any_batch_is_distinct_and_meets_every_different_sample_first(
    values: list[int], data: st.DataObject
) -> None:
    points: Doubles = np.array(values, np.float64)[:, None]
    count = data.draw(st.integers(1, len(values)))
    batch = select(of_points(points), count)
    rows: Rows = batch.ids.astype(np.int64)
    assert len(set(rows.tolist())) == count
    num_distinct = len(set(values))
    if count >= num_distinct:
        assert len(set(points[rows[:num_distinct], 0].tolist())) == num_distinct


def test_what_is_labelled_makes_no_difference() -> None:
    pool = of_points(np.random.default_rng(3).standard_normal((80, 3)))
    assert pool.embeddings is not None
    labelled = replace(pool, labelled_embeddings=pool.embeddings[:9])
    assert select(pool, 7).ids.tolist() == select(labelled, 7).ids.tolist()
