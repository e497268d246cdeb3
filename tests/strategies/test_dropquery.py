from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Head
from strategies.base import Doubles, Floats, Rows, Selection
from strategies.dropquery import DropQuery, count_flips
from strategies.kmeans import one_for_each_cluster


def select(
    pool: Candidates, batch_size: int, strategy: DropQuery | None = None, seed: int = 0
) -> Selection:
    return (strategy or DropQuery()).select(pool, batch_size, np.random.default_rng(seed))


def random_pool(num: int, width: int = 8, classes: int = 3, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    return Candidates(
        ids=np.arange(num),
        embeddings=rng.standard_normal((num, width)).astype(np.float32),
        head=Head(
            weight=rng.standard_normal((classes, width)).astype(np.float32),
            bias=rng.standard_normal(classes).astype(np.float32),
        ),
    )


def plain_flips(embeddings: Floats, head: Head, is_kept: Doubles, rate: float) -> Rows:
    """The law written down plainly: features dropped and scaled, then the head."""
    points, weight = embeddings.astype(np.float64), head.weight.astype(np.float64)
    predicted = (points @ weight.T + head.bias).argmax(axis=1)
    flips = np.zeros(len(points), np.int64)
    for mask in is_kept:
        dropped = points * mask / (1 - rate)
        flips += (dropped @ weight.T + head.bias).argmax(axis=1) != predicted
    return flips


def test_a_class_that_stands_on_one_feature_flips_when_it_is_dropped() -> None:
    head = Head(weight=np.eye(2, dtype=np.float32), bias=np.zeros(2, np.float32))
    embeddings = np.array([[2, 1], [1, 2], [2, 0], [-1, -3]], np.float32)
    without_first, without_second = [0.0, 2.0], [2.0, 0.0]
    flips = count_flips(embeddings, head, np.array([without_first, without_second]))
    # Without feature 0 its class scores 0, and 1 wins for the first; equal scores mean class 0.
    # The last predicts class 0 and keeps it without feature 1 only if 0 > -2, so it flips.
    assert flips.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("rate", [0.3, 0.75])
def test_flips_equal_the_plain_ones(pool: Candidates, rate: float) -> None:
    assert pool.embeddings is not None
    assert pool.head is not None
    strategy = DropQuery(rate=rate, passes=5)
    batch = select(pool, 1, strategy, seed=4)
    is_kept = np.random.default_rng(4).random((5, pool.embeddings.shape[1])) >= rate
    expected = plain_flips(pool.embeddings, pool.head, is_kept.astype(float), rate)
    assert batch.maps["flips"].tolist() == expected.tolist()


def wanted_by_law(flips: Rows, passes: int, enough: float) -> Rows:
    for least in range(passes // 2 + 1, 0, -1):
        wanted = np.flatnonzero(flips >= least)
        if len(wanted) >= enough:
            break
    return wanted


@pytest.mark.parametrize("wanted_per_pick", [0, 3, 25])
@pytest.mark.parametrize("passes", [1, 3, 6])
def test_picks_are_one_for_each_cluster_of_those_that_flip(
    wanted_per_pick: float, passes: int
) -> None:
    pool = random_pool(300)
    strategy = DropQuery(passes=passes, wanted_per_pick=wanted_per_pick)
    batch = select(pool, 20, strategy, seed=2)
    flips = batch.maps["flips"].astype(np.int64)
    wanted = wanted_by_law(flips, passes, wanted_per_pick * 20)
    rng = np.random.default_rng(2)
    rng.random((passes, 8))
    assert pool.embeddings is not None
    assert batch.ids.tolist() == one_for_each_cluster(pool.embeddings, wanted, 20, rng).tolist()
    assert batch.scores.tolist() == flips[batch.ids].tolist()
    assert batch.notes["wanted"] == len(wanted)


def test_fewer_flips_will_do_where_too_few_samples_flip_often() -> None:
    pool = random_pool(400, classes=2)
    few = select(pool, 2, DropQuery(passes=5, wanted_per_pick=1))
    many = select(pool, 200, DropQuery(passes=5, wanted_per_pick=1))
    assert few.notes["least_flips"] == 3
    assert many.notes["least_flips"] in (1, 2)
    assert few.scores.min() >= 3


def test_without_dropout_nothing_flips_and_the_batch_is_drawn() -> None:
    pool = random_pool(40)
    counts = np.zeros(40)
    for seed in range(400):
        batch = select(pool, 4, DropQuery(rate=0), seed)
        assert not batch.maps["flips"].any()
        assert batch.notes["wanted"] == 0
        counts[batch.ids] += 1
    assert np.abs(counts - 40).max() < 4.5 * np.sqrt(400 * 0.1 * 0.9)


def test_when_all_features_are_dropped_the_bias_decides() -> None:
    head = Head(weight=np.ones((2, 3), np.float32), bias=np.array([0, 1], np.float32))
    embeddings = np.array([[1, 1, 1], [-5, 0, 1]], np.float32)
    assert count_flips(embeddings, head, np.zeros((2, 3))).tolist() == [0, 0]
    head = Head(weight=np.eye(2, 3, dtype=np.float32), bias=np.array([0, 1], np.float32))
    assert count_flips(embeddings, head, np.zeros((2, 3))).tolist() == [0, 0]
    assert count_flips(-embeddings, head, np.zeros((2, 3))).tolist() == [0, 2]


def test_twins_flip_together() -> None:
    rng = np.random.default_rng(3)
    points = rng.standard_normal((300, 64)).astype(np.float32)[np.arange(1500) % 300]
    head = Head(
        weight=(rng.standard_normal((1, 64)) + 1e-7 * rng.standard_normal((5, 64))).astype(
            np.float32
        ),
        bias=np.zeros(5, np.float32),
    )
    factors: Doubles = 2 * rng.integers(0, 2, (4, 64)).astype(np.float64)
    flips = count_flips(points, head, factors)
    assert (flips.reshape(5, 300) == flips[:300]).all()
    assert flips.any()


def test_other_samples_change_nobodys_flips() -> None:
    pool = random_pool(120)
    some = np.arange(0, 120, 7)
    whole, part = select(pool, 3, seed=5), select(pool.take(some), 3, seed=5)
    assert part.maps["flips"].tolist() == whole.maps["flips"][some].tolist()


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 4),
    st.floats(0, 0.99),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_any_batch_is_distinct_and_those_that_flip_come_first(
    num: int, classes: int, rate: float, passes: int, seed: int
) -> None:
    pool = random_pool(num, 3, classes, seed)
    for count in {1, (num + 1) // 2, num}:
        batch = select(pool, count, DropQuery(rate=rate, passes=passes), seed)
        assert len(set(batch.ids.tolist())) == count
        least = batch.notes["least_flips"]
        assert isinstance(least, int)
        wanted = batch.maps["flips"].astype(np.int64) >= least
        in_batch = wanted[batch.ids].tolist()
        assert in_batch == sorted(in_batch, reverse=True)
        assert sum(in_batch) == min(int(wanted.sum()), count)
