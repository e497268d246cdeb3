"""Where modAL 0.4.2.1 asks for the same samples, and where a name of its means something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from strategies import (
    BALD,
    Candidates,
    EntropyMC,
    EntropySampling,
    LeastConfidence,
    LeastConfidenceMC,
    MarginSampling,
    MeanStd,
    QueryByCommittee,
)
from strategies.base import Doubles, QueryStrategy
from strategies.scores import entropy

uncertainty = pytest.importorskip("modAL.uncertainty")
disagreement = pytest.importorskip("modAL.disagreement")
dropout = pytest.importorskip("modAL.dropout")
models = pytest.importorskip("modAL.models")
sklearn_base = pytest.importorskip("sklearn.base")

pytestmark = pytest.mark.conformance


class Known(sklearn_base.BaseEstimator):  # type: ignore[misc, name-defined]
    """A classifier whose answers are known beforehand; samples are given by their row."""

    def __init__(self, probs: Any = None) -> None:
        self.probs = probs
        self.classes_ = np.arange(probs.shape[1])

    def fit(self, X: Any, y: Any) -> Known:  # noqa: ARG002 - their interface
        return self

    def predict_proba(self, X: Any) -> Any:
        return self.probs[X]

    def predict(self, X: Any) -> Any:
        return self.probs[X].argmax(axis=1)


def learner(log_probs: Any) -> Any:
    return models.ActiveLearner(Known(np.exp(log_probs)))


def draws(pool: Candidates) -> list[Doubles]:
    """Probabilities, (N, C) a draw."""
    assert pool.mc_log_probs is not None
    return list(np.exp(pool.mc_log_probs).astype(np.float64).swapaxes(0, 1))


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        (LeastConfidence(), "uncertainty_sampling"),
        (MarginSampling(), "margin_sampling"),
        (EntropySampling(), "entropy_sampling"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_uncertainty_sampling_asks_for_the_same_set(
    pool: Candidates, strategy: QueryStrategy, name: str
) -> None:
    rows, scores = getattr(uncertainty, name)(learner(pool.log_probs), pool.ids, n_instances=100)
    batch = strategy.select(pool, 100, np.random.default_rng(0))
    # Theirs comes in the order a partition leaves it in.
    assert sorted(batch.ids.tolist()) == sorted(rows.tolist())
    np.testing.assert_allclose(np.sort(batch.scores), np.sort(scores), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("measure", "name"),
    [
        ("vote_entropy", "vote_entropy"),
        ("consensus_entropy", "consensus_entropy"),
        ("kl_max", "KL_max_disagreement"),
    ],
)
def test_a_committee_has_the_same_scores(pool: Candidates, measure: Any, name: str) -> None:
    assert pool.mc_log_probs is not None
    members = [learner(member) for member in pool.mc_log_probs.swapaxes(0, 1)]
    theirs = getattr(disagreement, name)(models.Committee(members), pool.ids)
    ours = QueryByCommittee(measure=measure).utilities(pool)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_bald_and_mean_std_of_dropout_have_the_same_scores(pool: Candidates) -> None:
    pairs = [
        (BALD().utilities(pool), dropout._bald_divergence(draws(pool))),
        (MeanStd().utilities(pool), dropout._mean_standard_deviation(draws(pool))),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_their_variation_ratio_of_dropout_is_least_confidence_of_the_mean(pool: Candidates) -> None:
    theirs = dropout._variation_ratios(draws(pool))
    np.testing.assert_allclose(LeastConfidenceMC().utilities(pool), theirs, rtol=0, atol=1e-12)


def test_their_entropy_of_dropout_is_that_of_the_draws_and_not_of_their_mean(
    pool: Candidates,
) -> None:
    assert pool.mc_log_probs is not None
    num_draws, num_classes = pool.mc_log_probs.shape[1:]
    theirs = dropout._entropy(draws(pool)) * num_classes / num_draws
    of_draws = [entropy(member) for member in pool.mc_log_probs.swapaxes(0, 1)]
    np.testing.assert_allclose(np.mean(of_draws, axis=0), theirs, rtol=0, atol=1e-12)
    # The entropy of the mean is that and the mutual information.
    of_mean = EntropyMC().utilities(pool)
    np.testing.assert_allclose(of_mean, theirs + BALD().utilities(pool), rtol=0, atol=1e-12)
