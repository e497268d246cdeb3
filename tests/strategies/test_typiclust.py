from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, typiclust
from strategies.base import Doubles, Floats, Rows, Selection
from strategies.kernels.kmeans import k_means, pool_of
from strategies.typiclust import TypiClust, pick_typical


def select(
    pool: Candidates, batch_size: int, strategy: TypiClust | None = None, seed: int = 0
) -> Selection:
    return (strategy or TypiClust()).select(pool, batch_size, np.random.default_rng(seed))


def of_points(points: Floats | Doubles, labelled: Floats | Doubles | None = None) -> Candidates:
    none = np.empty((0, points.shape[1]), np.float32)
    return Candidates(
        ids=np.arange(len(points)),
        embeddings=points.astype(np.float32),
        labelled_embeddings=none if labelled is None else labelled.astype(np.float32),
    )


def typical(
    points: Doubles, labels: Rows, num: int, count: int, *, unit: bool = False, **options: int
) -> tuple[list[int], Doubles]:
    settled = {"neighbours": 20, "min_cluster_size": 6, **options}
    rows, scores = pick_typical(
        pool_of(points, unit=unit),
        labels,
        num,
        count,
        neighbours=settled["neighbours"],
        min_cluster_size=settled["min_cluster_size"],
        plain=bool(settled.get("plain", 0)),
    )
    return rows.tolist(), scores


def one_by_one(
    points: Doubles,
    labels: Rows,
    num: int,
    count: int,
    *,
    neighbours: int = 20,
    min_cluster_size: int = 6,
    plain: int = 0,
) -> tuple[list[int], Doubles]:
    """The law written down plainly: every distance anew for every pick."""
    clusters = []
    for cluster in range(labels.max() + 1):
        size, known = (labels == cluster).sum(), (labels[num:] == cluster).sum()
        clusters.append((size < min_cluster_size, known, -size, cluster))
    picks: list[int] = []
    scores = []
    for is_small in (False, True):
        order = [key[3] for key in sorted(clusters) if key[0] == is_small]
        while len(picks) < count:
            before = len(picks)
            for cluster in order:
                free = [k for k in range(num) if labels[k] == cluster and k not in picks]
                if not free or len(picks) == count:
                    continue
                best = (-1.0, -1)
                for row in free:
                    others = [k for k in free if k != row]
                    gaps = np.sort(((points[others] - points[row]) ** 2).sum(axis=1))
                    gaps = np.sqrt(gaps) if plain else gaps
                    near = gaps[: min(neighbours, len(free) // 2)]
                    best = max(best, (1 / (near.mean() + 1e-5) if near.size else 0.0, -row))
                picks.append(-best[1])
                scores.append(best[0])
            if len(picks) == before:
                break
    return picks, np.array(scores)


def test_the_middle_of_a_row_is_most_typical() -> None:
    line = np.array([0.0, 1, 2, 3, 4, 5.5])[:, None]
    rows, scores = typical(line, np.zeros(6, np.int64), 6, 2, neighbours=2)
    # 1, 2 and 3 have neighbours at 1 and 1, the first is taken; then two of five are near, and 3
    # has them at 1 and 1.
    assert rows == [1, 3]
    np.testing.assert_allclose(scores, 1 / (1 + 1e-5), rtol=1e-6)


def test_plain_distances_can_choose_otherwise_than_squared_ones() -> None:
    # Neighbours of 0: 1 and 5 away; of 20: 3.5 and 3.5.
    line = np.array([0.0, 1, 5, 20, 23.5, 16.5])[:, None]
    squared, _ = typical(line, np.zeros(6, np.int64), 6, 1, neighbours=2)
    plain, scores = typical(line, np.zeros(6, np.int64), 6, 1, neighbours=2, plain=1)
    assert (squared, plain) == ([1], [1])
    np.testing.assert_allclose(scores, [1 / (2.5 + 1e-5)], rtol=1e-6)
    line = np.array([0.0, 1, 5.9, 20, 23.5, 16.5])[:, None]
    squared, _ = typical(line, np.zeros(6, np.int64), 6, 1, neighbours=2)
    plain, _ = typical(line, np.zeros(6, np.int64), 6, 1, neighbours=2, plain=1)
    assert (squared, plain) == ([3], [1])  # 12.25 < 12.5, but 2.95 < 3.5


def test_turns_go_to_few_labels_then_to_many_members() -> None:
    labels = np.repeat([0, 1, 2, 3], [6, 8, 7, 3])  # of candidates
    points = np.random.default_rng(0).standard_normal((26, 2))
    labels = np.concatenate([labels, [1, 3]])  # and of two labelled samples
    rows, _ = typical(points, labels, 24, 24)
    order = labels[rows]
    # Clusters 2, 0, 1 take turns; 0 has none left after six rounds, 2 after seven, 1 after eight.
    assert order[:18].tolist() == [2, 0, 1] * 6
    assert order[18:].tolist() == [2, 1, 1, 3, 3, 3]


def test_a_small_cluster_waits_until_no_other_has_a_candidate() -> None:
    labels = np.repeat([0, 1], [5, 6])
    rows, _ = typical(np.random.default_rng(1).standard_normal((11, 2)), labels, 11, 11)
    assert labels[rows].tolist() == [1] * 6 + [0] * 5
    rows, _ = typical(
        np.random.default_rng(1).standard_normal((11, 2)), labels, 11, 11, min_cluster_size=5
    )
    assert labels[rows].tolist() == [1, 0] * 5 + [1]


def test_the_last_candidate_of_a_cluster_has_no_neighbours_to_be_judged_by() -> None:
    rows, scores = typical(np.array([[0.0], [1], [2]]), np.array([0, 0, 1]), 3, 3)
    assert sorted(rows) == [0, 1, 2]
    assert scores.tolist() == [pytest.approx(1 / (1 + 1e-5)), 0, 0]


@pytest.mark.parametrize("plain", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_law_given_the_clusters(seed: int, plain: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((70, 3))
    labels = rng.integers(0, 5, 70)
    found, scores = typical(points, labels, 62, 45, neighbours=4, plain=plain)
    expected, typicalities = one_by_one(points, labels, 62, 45, neighbours=4, plain=plain)
    assert found == expected
    np.testing.assert_allclose(scores, typicalities, rtol=1e-5)


@pytest.mark.parametrize("picks_at_once", [1, 3])
def test_looking_up_neighbours_anew_changes_nothing(
    picks_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    points, labels = rng.standard_normal((90, 3)), rng.integers(0, 3, 90)
    whole = typical(points, labels, 90, 90, neighbours=5)
    monkeypatch.setattr(typiclust, "_PICKS_AT_ONCE", picks_at_once)
    monkeypatch.setattr(typiclust, "_TABLE_SIZE", 64)
    monkeypatch.setattr(typiclust, "_CLUSTERS_AT_ONCE", 1)
    parts = typical(points, labels, 90, 90, neighbours=5)
    assert parts[0] == whole[0]
    assert parts[1].tolist() == whole[1].tolist()


def test_twins_tie_whatever_was_taken_around_them() -> None:
    rng = np.random.default_rng(6)
    points = rng.standard_normal((20, 16))[np.arange(60) % 20]
    labels = np.zeros(60, np.int64)
    rows, scores = typical(points, labels, 60, 3, neighbours=8)
    # All three twins of a sample are equally typical until one is taken.
    assert rows[0] < 20
    assert rows == one_by_one(points, labels, 60, 3, neighbours=8)[0]
    assert np.isfinite(scores).all()


def test_equals_the_plain_law_given_the_map(pool: Candidates) -> None:
    strategy = TypiClust(neighbours=3, max_clusters=6, normalise=False)
    batch_size = min(25, len(pool))
    batch = select(pool, batch_size, strategy)
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    every = np.concatenate([pool.embeddings, pool.labelled_embeddings])
    exact = pool_of(every)
    count = min(6, batch_size + len(pool.labelled_embeddings))
    labels = k_means(exact, count, np.random.default_rng(0), tolerance=typiclust._TOLERANCE).labels
    assert batch.maps["cluster"].tolist() == labels[: len(pool)].tolist()
    rows = exact.at(np.arange(len(every)))
    points = rows.values * rows.scales[:, None]
    if len({*map(tuple, points)}) < len(points):  # ties within rounding of the plain law
        return
    expected, scores = one_by_one(points, labels, len(pool), batch_size, neighbours=3)
    assert batch.ids.tolist() == pool.ids[expected].tolist()
    np.testing.assert_allclose(batch.scores, scores, rtol=1e-4)


def test_blobs_without_a_label_are_asked_for_first() -> None:
    rng = np.random.default_rng(7)
    corners = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    points = np.repeat(corners, [30, 20, 10], axis=0) + 0.01 * rng.standard_normal((60, 3))
    batch = select(of_points(points, corners[:1]), 2, seed=3)
    blobs = np.repeat([0, 1, 2], [30, 20, 10])[batch.ids]
    assert blobs.tolist() == [1, 2]
    assert batch.maps["cluster"].shape == (60,)


def test_clusters_are_as_many_as_labels_and_picks_up_to_the_limit() -> None:
    points = np.random.default_rng(8).standard_normal((80, 4))
    pool = of_points(points, points[:5] + 0.1)
    assert select(pool, 6).notes["clusters"] == 11
    assert select(pool, 60, TypiClust(max_clusters=9)).notes["clusters"] == 9


def test_length_counts_only_where_embeddings_are_not_normalised() -> None:
    rng = np.random.default_rng(9)
    points = rng.standard_normal((100, 5))
    longer = points * 2.0 ** rng.integers(-3, 4, (100, 1))
    one, other = select(of_points(points), 20), select(of_points(longer), 20)
    assert one.ids.tolist() == other.ids.tolist()
    as_they_are = TypiClust(normalise=False)
    one = select(of_points(points), 20, as_they_are)
    assert one.ids.tolist() != select(of_points(longer), 20, as_they_are).ids.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 18), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_any_batch_is_distinct_and_takes_turns(num: int, num_labelled: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(-1, 2, (num, 2)).astype(float)
    pool = of_points(points, rng.integers(-1, 2, (num_labelled, 2)).astype(float))
    batch = select(pool, num, TypiClust(min_cluster_size=1), seed)
    assert sorted(batch.ids.tolist()) == list(range(num))
    assert (batch.scores >= 0).all()
    clusters = batch.maps["cluster"][batch.ids].tolist()
    turns = [clusters[:k].count(cluster) for k, cluster in enumerate(clusters)]
    assert turns == sorted(turns)  # nobody's second turn comes before anybody's first
