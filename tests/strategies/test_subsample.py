"""A strategy that sees a random part of the pool."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool

from strategies import BADGE, Candidates, MarginSampling, Subsample
from strategies.kernels.keyed import item_noise


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_where_all_are_shown_it_is_the_strategy_inside() -> None:
    pool = build_pool("spread")
    inside = BADGE().select(pool, 9, rng())
    for size in (len(pool), 10_000):
        batch = Subsample(base=BADGE(), size=size).select(pool, 9, rng())
        assert batch.ids.tolist() == inside.ids.tolist()
        assert batch.scores.tolist() == inside.scores.tolist()


def test_it_selects_what_the_strategy_inside_selects_of_the_smallest_numbers() -> None:
    pool = build_pool("spread")
    key = int(rng(4).integers(0, 2**64, dtype=np.uint64))
    shown = np.sort(np.argsort(item_noise(pool.ids, key), kind="stable")[:20])
    expected = MarginSampling().select(pool.take(shown), 5, rng())
    batch = Subsample(size=20).select(pool, 5, rng(4))
    assert batch.ids.tolist() == expected.ids.tolist()
    assert batch.notes == {"shown": 20, "approximate": True}


def test_taking_samples_that_were_not_shown_out_of_the_pool_changes_nothing() -> None:
    pool = build_pool("spread")
    batch = Subsample(size=20).select(pool, 5, rng(4))
    key = int(rng(4).integers(0, 2**64, dtype=np.uint64))
    shown = np.argsort(item_noise(pool.ids, key), kind="stable")[:30]
    assert Subsample(size=20).select(pool.take(shown), 5, rng(4)).ids.tolist() == batch.ids.tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(0, 60), st.integers(0, 2**32))
def test_a_batch_larger_than_the_part_gets_a_part_as_large(
    size: int, batch_size: int, seed: int
) -> None:
    pool = Candidates(ids=np.arange(60))
    strategy = Subsample.model_validate({"base": {"name": "random"}, "size": size})
    assert len(set(strategy.select(pool, batch_size, rng(seed)).ids.tolist())) == batch_size
