"""Strategies that take turns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool
from pydantic import ValidationError

from strategies import (
    Candidates,
    CoreSet,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    Mixture,
    QueryStrategy,
    RandomSampling,
)
from strategies.wrapping import generators


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_strategies_take_turns_and_skip_what_is_taken() -> None:
    probs = np.array([[0.5, 0.5, 0.0], [0.4, 0.31, 0.29], [0.9, 0.1, 0.0]], np.float32)
    with np.errstate(divide="ignore"):
        pool = Candidates(ids=np.array(["torn", "flat", "sure"]), log_probs=np.log(probs))
    # By margin: torn, flat, sure. By entropy: flat, torn, sure.
    mix = Mixture(bases=(MarginSampling(), EntropySampling(), EntropySampling()))
    assert mix.select(pool, 3, rng()).ids.tolist() == ["torn", "flat", "sure"]


def test_a_mixture_of_one_is_that_one() -> None:
    pool = build_pool("spread")
    alone = RandomSampling().select(pool, 9, rng())
    assert Mixture(bases=(RandomSampling(),)).select(pool, 9, rng()).ids.tolist() == (
        alone.ids.tolist()
    )


def test_each_draws_from_a_generator_of_its_own() -> None:
    pool = build_pool("spread")
    mix = Mixture(bases=(RandomSampling(), RandomSampling()))
    alone = [RandomSampling().select(pool, 1, own).ids[0] for own in generators(rng(), 2)]
    assert mix.select(pool, 2, rng()).ids.tolist() == alone


def test_two_kinds_of_the_same_signal_are_refused() -> None:
    with pytest.raises(ValidationError, match="two kinds of the same signal"):
        Mixture(bases=(CoreSet(), CoreSet(embedding="encoder")))


def turns(rankings: list[list[int]], count: int) -> list[int]:
    """The law written down plainly."""
    taken: list[int] = []
    while len(taken) < count:
        ranking = rankings[len(taken) % len(rankings)]
        taken.append(next(i for i in ranking if i not in taken))
    return taken


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([MarginSampling(), EntropySampling(), LeastConfidence(), CoreSet()]),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 60),
)
def test_equals_the_plain_round_robin(bases: list[QueryStrategy], count: int) -> None:
    pool = build_pool("spread")
    rankings = [base.select(pool, len(pool), rng()).ids.tolist() for base in bases]
    mix = Mixture.model_validate({"bases": [base.model_dump() for base in bases]})
    assert mix.select(pool, count, rng()).ids.tolist() == turns(rankings, count)
