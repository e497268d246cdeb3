"""How far confidence is from accuracy, and the temperature that brings them together."""

from __future__ import annotations

import numpy as np

from strategies.base import Doubles, Rows
from strategies.scores import LogProbs

NUM_BINS = 15

_STEPS_A_DOUBLING = 8
_STEPS = np.arange(-3 * _STEPS_A_DOUBLING, 5 * _STEPS_A_DOUBLING + 1)  # from 1/8 to 32


def at_temperature(log_probs: LogProbs, temperature: float) -> Doubles:
    """Log-probabilities of logits divided by the temperature, (N, C)."""
    scaled = np.asarray(log_probs, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True, initial=-np.inf)
    # Class by class, so that no row's rounding depends on the rows around it.
    total = np.exp(scaled.T.copy(order="C")).sum(axis=0)
    scaled -= np.log(total)[:, None]
    return scaled


def calibration_error(log_probs: LogProbs, labels: Rows) -> float:
    """The gap between confidence and accuracy, averaged over samples, in bins of confidence.

    Naeini, Cooper & Hauskrecht 2015 ("Obtaining well calibrated probabilities using Bayesian
    binning"), by the likeliest class as in Guo et al. 2017: 15 bins of equal width.
    """
    confidence = np.exp(np.max(log_probs, axis=1))
    is_right = np.argmax(log_probs, axis=1) == labels
    bins = np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    gaps = np.bincount(bins, is_right - confidence, minlength=NUM_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(log_probs: LogProbs, labels: Rows) -> float:
    """The temperature with the least calibration error, (V, C) and (V,); 1 without samples.

    From 1/8 to 32 in steps of 9 percent; of equals the one nearest 1.
    """
    if not len(labels):
        return 1.0
    steps = _STEPS[np.argsort(np.abs(_STEPS), kind="stable")]
    temperatures = 2.0 ** (steps / _STEPS_A_DOUBLING)
    errors = [calibration_error(at_temperature(log_probs, t), labels) for t in temperatures]
    return float(temperatures[int(np.argmin(errors))])
