from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from trainers.deep.logistic import fit_logistic


def test_without_features_that_tell_the_bias_is_the_log_share_of_each_class() -> None:
    features, labels = np.zeros((40, 2)), np.repeat([0, 1], [30, 10])
    found = fit_logistic(features, labels, 2, l2=1e-9, max_iterations=500)
    assert found.bias[0] - found.bias[1] == pytest.approx(np.log(3), abs=1e-3)
    assert np.abs(found.weight).max() == 0
    assert found.loss == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=1e-6)


def test_the_optimum_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 80)
    features = rng.normal(size=(80, 4)) + labels[:, None] * 0.5
    found = fit_logistic(features, labels, 3, l2=2.0, max_iterations=500)
    oracle = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=10_000)
    oracle.fit(np.c_[features, np.ones(80)], labels)
    assert found.has_converged
    assert np.c_[found.weight, found.bias] == pytest.approx(oracle.coef_, abs=1e-3)


def test_a_class_without_samples_stays_unlikely_but_possible() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(20, 3)), np.repeat([0, 2], 10)
    found = fit_logistic(features, labels, 4, l2=1.0, max_iterations=500)
    logits = features @ found.weight.T + found.bias
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.isfinite(probs).all()
    assert probs[:, [1, 3]].max() < 0.2
    assert found.bias[1] == pytest.approx(found.bias[3])


def test_the_cap_of_iterations_is_kept_and_told() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(50, 5)), rng.integers(0, 3, 50)
    found = fit_logistic(features, labels, 3, l2=0.1, max_iterations=2)
    assert found.iterations == 2
    assert not found.has_converged


def test_one_class_alone_can_be_fitted() -> None:
    found = fit_logistic(np.ones((1, 2)), np.array([1]), 2, l2=1.0, max_iterations=100)
    assert found.bias[1] > found.bias[0]
