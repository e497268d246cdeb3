"""A strategy that is run in each part of the pool."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool

from strategies import BADGE, CoreSet, MarginSampling, Partition, Subsample
from strategies.kernels.keyed import item_noise
from strategies.partition import quotas


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_one_part_is_the_strategy_inside() -> None:
    pool = build_pool("spread")
    inside = BADGE().select(pool, 9, rng())
    assert Partition(base=BADGE(), parts=1).select(pool, 9, rng()).ids.tolist() == (
        inside.ids.tolist()
    )


def test_each_part_gives_what_the_strategy_inside_picks_in_it() -> None:
    pool = build_pool("spread")
    key = int(rng(3).integers(0, 2**64, dtype=np.uint64))
    part_of = item_noise(pool.ids, key) % np.uint64(3)
    batch = Partition(base=CoreSet(), parts=3).select(pool, 12, rng(3))
    shares = batch.notes["shares"]
    assert isinstance(shares, list)
    for part, share in enumerate(shares):
        members = pool.take(np.flatnonzero(part_of == part))
        expected = CoreSet().select(members, share, rng()).ids.tolist()
        own = set(members.ids.tolist())
        assert [i for i in batch.ids.tolist() if i in own] == expected
    assert batch.maps["part"].tolist() == part_of.tolist()


def test_a_pool_sorted_by_class_is_split_across_classes() -> None:
    pool = build_pool("spread", num=600)
    batch = Partition(base=MarginSampling(), parts=2).select(pool, 100, rng())
    part = batch.maps["part"].astype(np.int64)
    assert abs(int(part[:300].sum()) - 150) < 40


@pytest.mark.parametrize(
    ("total", "weights", "most", "shares"),
    [
        (10, [1, 1], [9, 9], [5, 5]),
        (10, [3, 1], [9, 9], [8, 2]),  # 7.5 and 2.5: the tie of remainders goes to the first
        (10, [1, 1, 1], [9, 9, 9], [4, 3, 3]),
        (10, [3, 1], [4, 9], [4, 6]),
        (3, [0, 0], [2, 2], [2, 1]),
        (0, [1, 1], [2, 2], [0, 0]),
    ],
)
def test_shares_by_largest_remainder(
    total: int, weights: list[float], most: list[int], shares: list[int]
) -> None:
    assert quotas(total, np.array(weights, float), np.array(most)).tolist() == shares


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 9), st.integers(0, 9)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_shares_add_up_and_fit(parts: list[tuple[float, int]], share: float) -> None:
    most = np.array([size for _, size in parts])
    total = int(share * most.sum())
    shares = quotas(total, np.array([weight for weight, _ in parts]), most)
    assert shares.sum() == total
    assert (shares <= most).all()
    assert (shares >= 0).all()


def test_it_may_stand_inside_wrappers_that_spread_its_map() -> None:
    pool = build_pool("spread")
    for around in (
        Partition(base=Partition(parts=2), parts=2),
        Subsample(base=Partition(), size=30),
    ):
        assert len({*around.select(pool, 9, rng()).ids.tolist()}) == 9
