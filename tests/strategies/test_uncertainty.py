"""Which samples the uncertainty strategies ask for first."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import (
    Candidates,
    EntropySampling,
    LeastConfidence,
    MarginSampling,
    QueryStrategy,
)

ALL = [LeastConfidence(), MarginSampling(), EntropySampling()]


def ask(
    strategy: QueryStrategy, probs: list[list[float]], ids: list[str], size: int
) -> tuple[list[str], list[float]]:
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array(probs, np.float32))
    pool = Candidates(ids=np.array(ids), log_probs=log_probs)
    batch = strategy.select(pool, size, np.random.default_rng(0))
    return [str(name) for name in batch.ids], [float(score) for score in batch.scores]


def test_margin_asks_first_for_the_sample_torn_between_two_classes() -> None:
    torn, spread = [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]
    assert ask(MarginSampling(), [spread, torn], ["a", "b"], 1)[0] == ["b"]


def test_entropy_asks_first_for_the_sample_spread_over_all_classes() -> None:
    torn, spread = [0.5, 0.5, 0.0], [0.4, 0.3, 0.3]
    assert ask(EntropySampling(), [torn, spread], ["a", "b"], 1)[0] == ["b"]


def test_least_confidence_asks_first_for_the_lowest_top_probability() -> None:
    names, scores = ask(LeastConfidence(), [[0.6, 0.4], [0.55, 0.45]], ["a", "b"], 2)
    assert names == ["b", "a"]
    assert scores == pytest.approx([0.45, 0.4], abs=1e-6)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_equal_scores_are_ordered_by_id(strategy: QueryStrategy) -> None:
    probs = [[0.7, 0.3], [0.3, 0.7], [0.7, 0.3], [0.6, 0.4]]
    assert ask(strategy, probs, ["d", "b", "c", "x"], 3)[0] == ["x", "b", "c"]


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_with_two_classes_all_agree(strategy: QueryStrategy) -> None:
    top = np.random.default_rng(1).uniform(0.5, 1, 50)
    names = [f"{k:02}" for k in range(50)]
    probs = [[float(p), float(1 - p)] for p in top]
    assert ask(strategy, probs, names, 50)[0] == [names[k] for k in np.argsort(top)]


@pytest.mark.parametrize("strategy", [LeastConfidence(), MarginSampling()], ids=lambda s: s.name)
def test_rows_are_told_apart_even_where_probabilities_underflow(strategy: QueryStrategy) -> None:
    left = np.array([-900, -800, -1000], np.float32)
    log_probs = np.stack([np.zeros(3, np.float32), left], axis=1)
    pool = Candidates(ids=np.arange(3), log_probs=log_probs)
    assert strategy.select(pool, 3, np.random.default_rng(0)).ids.tolist() == [1, 0, 2]


def test_margins_of_zero_are_a_tie_whatever_the_third_class_has() -> None:
    rows = [[0.375, 0.375, 0.25], [0.4, 0.4, 0.2]]
    assert ask(MarginSampling(), rows, ["b", "a"], 2)[0] == ["a", "b"]


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.name)
def test_saturated_rows_are_ordered_by_what_is_left_not_by_id(strategy: QueryStrategy) -> None:
    left = np.array([-80, -50, -90, -60], np.float32)
    log_probs = np.stack([np.zeros(4, np.float32), left], axis=1)
    pool = Candidates(ids=np.arange(4), log_probs=log_probs)
    assert strategy.select(pool, 4, np.random.default_rng(0)).ids.tolist() == [1, 3, 0, 2]
