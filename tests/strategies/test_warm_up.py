"""One strategy first, another one later."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pools import build_pool

from strategies import BADGE, CoreSet, MarginSampling, RandomSampling, Subsample, WarmUp


@given(st.integers(1, 5), st.integers(0, 9))
def test_the_first_rounds_belong_to_the_first_strategy(rounds: int, number: int) -> None:
    strategy = WarmUp(first=CoreSet(), then=BADGE(), rounds=rounds)
    assert strategy.at_round(number) == (CoreSet() if number < rounds else BADGE())


def test_only_the_strategy_at_work_says_what_it_needs() -> None:
    strategy = WarmUp(first=RandomSampling(), then=MarginSampling())
    assert strategy.at_round(0).needs == frozenset()
    assert strategy.at_round(1).needs == {"log_probs"}


def test_it_may_stand_inside_and_around_others() -> None:
    inner = WarmUp(first=RandomSampling(), then=MarginSampling(), rounds=2)
    outer = WarmUp(first=CoreSet(), then=Subsample(base=inner, size=9), rounds=1)
    assert outer.at_round(0) == CoreSet()
    assert outer.at_round(1) == Subsample(base=RandomSampling(), size=9)
    assert outer.at_round(2) == Subsample(base=MarginSampling(), size=9)


def test_by_itself_it_selects_as_in_round_0() -> None:
    pool = build_pool("spread")
    first = CoreSet().select(pool, 5, np.random.default_rng(0))
    batch = WarmUp(first=CoreSet()).select(pool, 5, np.random.default_rng(0))
    assert batch.ids.tolist() == first.ids.tolist()
