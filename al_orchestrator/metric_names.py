"""What the name of a metric tells of it."""

from __future__ import annotations

_LOWER_IS_BETTER = frozenset({"nll", "ece", "loss", "error", "brier"})


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of `metric` is the better one, judged by its last word."""
    return metric.rsplit("/", 1)[-1].rsplit("_", 1)[-1] in _LOWER_IS_BETTER


def is_of_test_set(metric: str) -> bool:
    """Whether `metric` is measured on the test set, at whichever epoch."""
    return "test" in metric.split("/")[:-1]


def is_of_validation_set(metric: str) -> bool:
    """Whether `metric` is measured on the validation set, at whichever epoch."""
    return "validation" in metric.split("/")[:-1]
