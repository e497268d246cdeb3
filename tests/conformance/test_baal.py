"""Where baal 2.1.0 asks for the same samples, and where it is known not to."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from strategies import (
    BALD,
    Candidates,
    EntropyMC,
    EntropySampling,
    LeastConfidence,
    LeastConfidenceMC,
    MarginMC,
    MarginSampling,
    MeanStd,
    Power,
    SoftmaxTopK,
    SoftRank,
    StrategyError,
)
from strategies.base import Doubles, QueryStrategy
from strategies.batchbald import BatchBALD
from strategies.stochastic import Stochastic

with warnings.catch_warnings():
    # structlog, which baal imports, imports a module of its own that it has deprecated.
    warnings.filterwarnings("ignore", message="`structlog", category=DeprecationWarning)
    heuristics = pytest.importorskip("baal.active.heuristics")
    torch = pytest.importorskip("torch")
    stochastics = pytest.importorskip("baal.active.heuristics.stochastics")

pytestmark = pytest.mark.conformance


def probs_of(pool: Candidates) -> Doubles:
    assert pool.log_probs is not None
    return np.exp(pool.log_probs).astype(np.float64)


def draws_of(pool: Candidates) -> Doubles:
    """(N, C, K), as baal lays them out."""
    assert pool.mc_log_probs is not None
    return np.exp(pool.mc_log_probs).astype(np.float64).swapaxes(1, 2)


@pytest.mark.parametrize(
    ("strategy", "heuristic"),
    [
        (LeastConfidence(), "Certainty"),
        (MarginSampling(), "Margin"),
        (EntropySampling(), "Entropy"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_uncertainty_sampling_asks_in_the_same_order(
    pool: Candidates, strategy: QueryStrategy, heuristic: str
) -> None:
    theirs = getattr(heuristics, heuristic)()(probs_of(pool))
    batch = strategy.select(pool, len(pool), np.random.default_rng(0))
    assert batch.ids.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    ("strategy", "heuristic"),
    [
        (LeastConfidenceMC(), "Certainty"),
        (MarginMC(), "Margin"),
        (EntropyMC(), "Entropy"),
        (BALD(), "BALD"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_strategies_of_posterior_draws_ask_in_the_same_order(
    pool: Candidates, strategy: QueryStrategy, heuristic: str
) -> None:
    theirs = getattr(heuristics, heuristic)()(draws_of(pool))
    batch = strategy.select(pool, len(pool), np.random.default_rng(0))
    assert batch.ids.tolist() == theirs.tolist()


def test_bald_has_the_same_scores(pool: Candidates) -> None:
    theirs = heuristics.BALD().get_uncertainties(draws_of(pool))
    np.testing.assert_allclose(BALD().utilities(pool), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("strategy", "heuristic"),
    [
        (Power(base=BALD(), beta=2.0), "PowerSampling"),
        (SoftmaxTopK(base=BALD(), beta=2.0), "GibbsSampling"),
        (SoftRank(base=BALD(), beta=2.0), "RankBasedSampling"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_stochastic_batches_are_drawn_by_the_same_weights(
    pool: Candidates, strategy: Stochastic, heuristic: str
) -> None:
    drawing = getattr(stochastics, heuristic)(heuristics.BALD(), query_size=10, temperature=1 / 2)
    _, theirs = drawing.get_ranks(draws_of(pool))
    weights = np.exp(strategy.log_weights(BALD(), pool))
    np.testing.assert_allclose(weights / weights.sum(), theirs, rtol=1e-9)


def test_their_variance_is_a_mean_of_squares_and_not_of_deviations(pool: Candidates) -> None:
    theirs = heuristics.Variance().get_uncertainties(draws_of(pool))
    np.testing.assert_allclose(draws_of(pool).var(axis=2).mean(axis=1), theirs)
    np.testing.assert_allclose(
        MeanStd().utilities(pool), draws_of(pool).std(axis=2).mean(axis=1), atol=1e-12
    )


def test_their_batchbald_takes_one_more_and_lists_them_backwards(pool: Candidates) -> None:
    torch.manual_seed(0)  # labellings are sampled from the first pick on
    theirs = heuristics.BatchBALD(num_samples=2, num_draw=500)
    ranks, scores = theirs.get_ranks(draws_of(pool))
    assert np.count_nonzero(scores) == 3
    batch = BatchBALD().select(pool, 3, np.random.default_rng(0))
    assert batch.ids.tolist() == ranks[:3][::-1].tolist()


def test_rows_that_read_one_in_float32_tie_there_and_keep_their_order_here() -> None:
    doubts = np.array([1e-12, 1e-9, 1e-10])
    log_probs = np.log(np.stack([1 - doubts, doubts], axis=1)).astype(np.float32)
    theirs = heuristics.Certainty().get_uncertainties(np.exp(log_probs))
    assert theirs.tolist() == [1, 1, 1]
    saturated = Candidates(ids=np.arange(3), log_probs=log_probs)
    batch = LeastConfidence().select(saturated, 3, np.random.default_rng(0))
    assert batch.ids.tolist() == [1, 2, 0]


def test_they_score_a_row_that_is_not_a_number_and_here_it_is_refused() -> None:
    probs = np.array([[0.5, 0.5], [np.nan, np.nan]])
    with pytest.warns(UserWarning, match="Invalid value in the score"):
        theirs = heuristics.Margin().get_uncertainties(probs)
    assert theirs[1] == 10_000
    with pytest.raises(StrategyError, match="1 of 2 rows of log_probs"):
        Candidates(ids=np.arange(2), log_probs=np.log(probs))
