from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.cluster import MiniBatchKMeans

from strategies import Candidates
from strategies.base import Doubles, Floats, Rows
from strategies.kernels import blocks, exact, kmeans
from strategies.kernels.exact import ExactRows
from strategies.kernels.kmeans import Clusters, k_means, pool_of, squares_to


def clustered(
    points: Floats | Doubles,
    count: int,
    seed: int = 0,
    *,
    unit: bool = False,
    weights: Doubles | None = None,
    tolerance: float = 1e-3,
    max_passes: int = 300,
    threads: int | None = None,
) -> Clusters:
    return k_means(
        pool_of(points, unit=unit, threads=threads),
        count,
        np.random.default_rng(seed),
        weights=weights,
        tolerance=tolerance,
        max_passes=max_passes,
    )


def plain(rows: ExactRows) -> Doubles:
    return rows.values * rows.scales[:, None]


def lloyd(
    points: Doubles, centres: Doubles, weights: Doubles, tolerance: float
) -> tuple[Rows, Doubles, int]:
    """The law written down plainly: differences in float64, all centres for all rows."""
    labels = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    passes = 0
    while True:
        passes += 1
        costs = weights * ((points - centres[labels]) ** 2).sum(axis=1)
        farthest = np.argsort(-costs, kind="stable").tolist()
        centres = centres.copy()
        for k in range(len(centres)):
            mine = labels == k
            if weights[mine].sum() > 0:
                centres[k] = np.average(points[mine], axis=0, weights=weights[mine])
            elif farthest and costs[farthest[0]] > 0:
                centres[k] = points[farthest.pop(0)]
        nearest = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        changed = np.count_nonzero(nearest != labels)
        labels = nearest
        if changed <= tolerance * len(points):
            return labels, centres, passes


def assert_is_lloyd(
    points: Floats | Doubles, found: Clusters, seeds: Doubles, weights: Doubles | None = None
) -> None:
    """`found` equals the plain algorithm from the same seeds; points as the pool holds them."""
    moved = plain(pool_of(points).at(np.arange(len(points))))
    weights = np.ones(len(points)) if weights is None else weights
    labels, centres, passes = lloyd(moved, seeds, weights, 1e-3)
    assert found.labels.tolist() == labels.tolist()
    assert found.passes == passes
    size = np.abs(moved).max()
    np.testing.assert_allclose(plain(found.centres) / size, centres / size, atol=1e-7)


class Injected(np.random.Generator):
    """Answers `random` from a list, then with numbers that propose the first row."""

    def __init__(self, uniforms: list[float]) -> None:
        super().__init__(np.random.PCG64(0))
        self.left = uniforms

    def random(self, size: tuple[int, int] | None = None) -> float | Doubles:  # type: ignore[override]
        num = 1 if size is None else size[0] * size[1]
        taken = (self.left + [0.0] * num)[:num]
        self.left = self.left[num:]
        return taken[0] if size is None else np.array(taken).reshape(size)


def test_two_pairs_on_a_line_end_as_two_clusters() -> None:
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    found = clustered(points, 2)
    assert sorted(plain(found.centres).ravel().tolist()) == [-5, 5]  # less the mean, 5.5
    assert found.labels[0] == found.labels[1] != found.labels[2] == found.labels[3]
    assert found.squares.tolist() == [0.25, 0.25, 0.25, 0.25]


def test_equals_the_plain_algorithm(pool: Candidates) -> None:
    points = pool.embeddings
    assert points is not None
    for count in (1, 3, 8):
        seeds = plain(clustered(points, count, max_passes=0).centres)
        found = clustered(points, count)
        if found.passes:
            assert_is_lloyd(points, found, seeds)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_plain_algorithm_on_larger_pools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((1500, 12)) * np.arange(1, 13) + 10 * rng.integers(0, 4, (1500, 1))
    weights = rng.random(1500) if seed % 2 else None
    seeds = plain(clustered(points, 40, seed, weights=weights, max_passes=0).centres)
    found = clustered(points, 40, seed, weights=weights)
    assert_is_lloyd(points, found, seeds, weights)


def test_a_centre_that_loses_all_rows_moves_to_the_farthest() -> None:
    # The middle cluster {0, 1} has its mean at 0.5, farther from either than the neighbours' means.
    line = np.array([0, 1, -0.7, *[-0.36] * 9, 2.1, *[1.1] * 9])[:, None]
    draws = [0.5 / 22]  # the row 0
    squares = (line**2).ravel()
    ends = np.cumsum(squares) / squares.sum()
    draws += [(ends[2] + ends[1]) / 2, 0.0]  # then -0.7
    remaining = np.minimum(squares, ((line + 0.7) ** 2).ravel())
    assert remaining[12] == squares[12]
    draws += [(ends[12] + ends[11]) / 2, 0.0]  # and 2.1
    found = k_means(pool_of(line), 3, Injected(draws))
    moved = line - line.mean(axis=0).astype(np.float32)
    assert_is_lloyd(line, found, moved[[0, 2, 12]])
    first = lloyd(moved, moved[[0, 2, 12]], np.ones(22), 1.0)[0]
    assert not (first == 0).any()  # after one pass the first cluster is empty
    assert (found.labels == 0).any()


def test_every_row_belongs_to_its_nearest_centre_the_first_of_equals() -> None:
    rng = np.random.default_rng(0)
    # Whole numbers: many rows lie exactly between two centres.
    points = rng.integers(0, 6, (3000, 3)).astype(np.float32)
    for count in (2, 30, 200):
        found = clustered(points, count, tolerance=0, max_passes=5)
        table = squares_to(pool_of(points).at(np.arange(3000)), found.centres)
        assert found.labels.tolist() == table.argmin(axis=1).tolist()
        assert found.squares.tolist() == table.min(axis=1).tolist()


def test_rows_between_seeds_go_to_the_first() -> None:
    points = np.array([[-2.0], [0.0], [2.0]])
    for seed in range(8):
        found = clustered(points, 2, seed, max_passes=0)
        ends = plain(found.centres).ravel()
        if set(ends.tolist()) == {-2, 2}:
            assert found.labels[1] == 0


def test_equal_rows_share_a_cluster() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((200, 32)).astype(np.float32)[np.arange(2000) % 200]
    found = clustered(points, 50)
    assert (found.labels.reshape(10, 200) == found.labels[:200]).all()


@pytest.mark.parametrize("num_distinct", [1, 5, 12])
def test_fewer_different_rows_than_centres_make_fewer_clusters(num_distinct: int) -> None:
    points = np.arange(60.0)[np.arange(60) % num_distinct, None]
    found = clustered(points, 20)
    assert len(found.centres) == num_distinct
    assert not found.squares.any()
    assert len(set(found.labels.tolist())) == num_distinct


def test_as_many_centres_as_rows_leave_each_row_alone() -> None:
    points = np.random.default_rng(2).standard_normal((300, 4))
    found = clustered(points, 300)
    assert sorted(found.labels.tolist()) == list(range(300))


# On the line 0, 1, 3, 7 with two seeds the law can be enumerated by hand.
LINE = np.array([0.0, 1.0, 3.0, 7.0])


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0.0, 2.0, 1.0])])
def test_seeds_have_the_enumerated_probabilities(weights: Doubles | None) -> None:
    chance_of = np.ones(4) if weights is None else weights
    pool, num_draws = pool_of(LINE[:, None]), 800
    rng = np.random.default_rng(0)
    counts = np.zeros((4, 4))
    rows = plain(pool.at(np.arange(4))).ravel()
    for _ in range(num_draws):
        seeds = plain(k_means(pool, 2, rng, weights=weights, max_passes=0).centres).ravel()
        counts[tuple(int(np.argmin(np.abs(rows - seed))) for seed in seeds)] += 1
    for first in range(4):
        later = chance_of * (LINE - LINE[first]) ** 2
        chances = chance_of[first] / chance_of.sum() * later / later.sum()
        spread = np.sqrt(num_draws * chances * (1 - chances))
        assert (np.abs(counts[first] - num_draws * chances) <= 4.5 * spread + 1).all()


def test_weighted_centres_are_weighted_means() -> None:
    points = np.array([[0.0, 0], [4, 0], [100, 8], [104, 8]])
    found = clustered(points, 2, weights=np.array([3.0, 1, 1, 3]))
    middle = points.mean(axis=0)
    centres = plain(found.centres)[found.labels[[0, 2]]] + middle
    np.testing.assert_allclose(centres, [[1, 0], [103, 8]], atol=1e-6)


def test_tiny_weights_still_tell_where_a_centre_lies() -> None:
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.standard_normal((50, 4)), 50 + rng.standard_normal((50, 4))])
    weights = np.repeat([1.0, 1e-9], 50) * (1 + rng.random(100))
    seeds = np.stack([points[0], points[50]]) - points.mean(axis=0).astype(np.float32)
    labels = np.repeat([0, 1], 50)
    pool = pool_of(points)
    search = kmeans._Lloyd(pool, weights / weights.max(), _seeded(pool, [0, 50], labels))
    search.take_pass()
    expected = lloyd(points - points.mean(axis=0).astype(np.float32), seeds, weights, 1.0)[1]
    np.testing.assert_allclose(plain(search.centres), expected, rtol=1e-6)


def _seeded(pool: exact.ExactPool, seeds: list[int], labels: Rows) -> kmeans._Seeding:
    seeding = kmeans._Seeding(pool, np.ones(len(pool)))
    seeding.seeds, seeding.labels = seeds, labels
    return seeding


def test_equal_weights_are_no_weights() -> None:
    points = np.random.default_rng(4).standard_normal((700, 5))
    one, other = clustered(points, 30), clustered(points, 30, weights=np.full(700, 0.3))
    assert one.labels.tolist() == other.labels.tolist()


def test_rows_without_weight_are_clustered_but_move_nothing() -> None:
    rng = np.random.default_rng(5)
    points = rng.standard_normal((400, 3))
    weights: Doubles = (rng.random(400) < 0.3).astype(np.float64)
    found = clustered(points, 25, weights=weights)
    heavy = clustered(points[weights > 0], 25)
    assert len(set(found.labels[weights > 0].tolist())) == len(heavy.centres)
    seeds = plain(clustered(points, 25, weights=weights, max_passes=0).centres)
    assert_is_lloyd(points, found, seeds, weights)


def test_at_unit_length_only_directions_count() -> None:
    rng = np.random.default_rng(6)
    points = rng.standard_normal((500, 8))
    longer = points * rng.uniform(0.1, 90, (500, 1))
    one, other = clustered(points, 20, unit=True), clustered(longer, 20, unit=True)
    assert one.labels.tolist() == other.labels.tolist()
    assert one.squares.max() <= 4


def hard_pool(num: int = 2500) -> Floats:
    rng = np.random.default_rng(7)
    points = rng.standard_normal((num, 24)) + 5 * rng.standard_normal((30, 24))[np.arange(num) % 30]
    points[::7] = points[3]
    return points.astype(np.float32)


def test_threads_change_nothing() -> None:
    one, two, seven = (clustered(hard_pool(), 150, threads=threads) for threads in (1, 2, 7))
    assert one.labels.tolist() == two.labels.tolist() == seven.labels.tolist()
    assert one.squares.tolist() == two.squares.tolist() == seven.squares.tolist()


@pytest.mark.parametrize("block_rows", [13, 64, 4096])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_grid_of_blocks_changes_nothing(
    block_rows: int, is_weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = hard_pool(1500)
    weights = np.random.default_rng(8).random(1500) ** 9 if is_weighted else None
    whole = clustered(points, 90, weights=weights)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(kmeans, "_ROWS_AT_ONCE", block_rows)
    parts = clustered(points, 90, weights=weights)
    assert parts.labels.tolist() == whole.labels.tolist()
    assert plain(parts.centres).tolist() == plain(whole.centres).tolist()


def test_a_pool_too_large_to_keep_is_clustered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    points = hard_pool(1200)
    whole = clustered(points, 60)
    monkeypatch.setattr(exact, "_KEPT_BYTES", 0)
    monkeypatch.setattr(kmeans, "_SINGLE_BYTES", 0)
    monkeypatch.setattr(kmeans, "_TABLE_SIZE", 2048)
    parts = clustered(points, 60)
    assert parts.labels.tolist() == whole.labels.tolist()
    assert parts.squares.tolist() == whole.squares.tolist()


@pytest.mark.parametrize("factor", [2.0**-90, 2.0**90])
def test_multiplying_by_a_power_of_two_changes_no_cluster(factor: float) -> None:
    half = hard_pool(300)
    points = np.concatenate([half, -half, 0 * half[:9]])  # rows at the mean have no scale at all
    found, scaled = clustered(points, 40), clustered(points * np.float32(factor), 40)
    assert scaled.labels.tolist() == found.labels.tolist()
    assert (scaled.squares / factor**2).tolist() == found.squares.tolist()


def test_rows_that_sleep_would_not_have_moved() -> None:
    points = hard_pool(2000) + np.random.default_rng(9).standard_normal((2000, 24))
    pool, ones = pool_of(points), np.ones(2000)
    rested, awake = (_started(pool, ones) for _ in range(2))
    for _ in range(12):
        awake._upper[:], awake._lower[:] = np.inf, 0  # all rows meet all centres
        assert rested.take_pass() == awake.take_pass()
        assert rested.labels.tolist() == awake.labels.tolist()


def _started(pool: exact.ExactPool, weights: Doubles) -> kmeans._Lloyd:
    seeding = kmeans._Seeding(pool, weights)
    seeding.draw(100, np.random.default_rng(0))
    return kmeans._Lloyd(pool, weights, seeding)


def inertia(points: Floats | Doubles, found: Clusters) -> float:
    moved = plain(pool_of(points).at(np.arange(len(points))))
    return float(((moved - plain(found.centres)[found.labels]) ** 2).sum())


def test_clusters_are_no_wider_than_those_of_mini_batches() -> None:
    points = hard_pool(4000) + np.random.default_rng(10).standard_normal((4000, 24))
    for seed in range(3):
        theirs = MiniBatchKMeans(80, batch_size=1000, n_init=1, random_state=seed).fit(points)
        found = clustered(points, 80, seed, tolerance=1e-2)
        assert inertia(points, found) <= theirs.inertia_


def test_more_passes_never_widen_clusters() -> None:
    points = hard_pool(900)
    widths = [
        inertia(points, clustered(points, 50, tolerance=0, max_passes=passes))
        for passes in range(6)
    ]
    assert widths == sorted(widths, reverse=True)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 14), st.integers(1, 3)),
        elements=st.sampled_from([-1e4, -1.0, 0.0, 1e-3, 1.0, 2.0, 3e5]),
    ),
    st.integers(1, 16),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_points_rows_belong_to_the_nearest_centre(
    points: Floats, count: int, seed: int
) -> None:
    found = clustered(points, count, seed, tolerance=0)
    assert 1 <= len(found.centres) <= count
    assert len(found.centres) <= len(np.unique(points, axis=0))
    table = squares_to(pool_of(points).at(np.arange(len(points))), found.centres)
    assert found.labels.tolist() == table.argmin(axis=1).tolist()
    assert np.isfinite(found.squares).all()
