"""What may be said of a difference."""

from __future__ import annotations

import pytest

from al_orchestrator.metric_names import lower_is_better
from al_orchestrator.reports import Interval
from al_orchestrator.reports.verdicts import overall_verdict, verdict_in_cell


def around(mean: float, half: float = 0.5) -> Interval:
    return Interval(mean=mean, n=3, sd=half / 2.484, low=mean - half, high=mean + half)


UP, DOWN, LEVEL = around(1.0), around(-1.0), around(0.1)
ONE_SEED = Interval(mean=1.0, n=1, sd=None, low=None, high=None)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([UP, UP], "win in 2 of 2 regimes"),
        ([UP, UP, LEVEL], "win in 2 of 3 regimes"),
        ([DOWN, LEVEL, DOWN], "loss in 2 of 3 regimes"),
        ([UP, LEVEL], "tie"),
        ([LEVEL, LEVEL], "tie"),
        ([UP, UP, DOWN], "mixed: better in 2 and worse in 1 of 3 regimes"),
        ([LEVEL], "tie"),
        ([UP], "+1.0000 [+0.5000, +1.5000], in one regime only"),
        ([ONE_SEED], "one seed: no interval"),
        ([ONE_SEED, ONE_SEED], "one seed: no interval"),
        ([UP, ONE_SEED], "+1.0000 [+0.5000, +1.5000], in one regime only"),
        ([], "nothing to compare with"),
    ],
)
def test_a_win_takes_two_regimes_and_no_loss(differences: list[Interval], verdict: str) -> None:
    assert overall_verdict(differences, lower=False) == verdict


def test_where_lower_is_better_a_win_lies_below_zero() -> None:
    assert overall_verdict([DOWN, DOWN], lower=True) == "win in 2 of 2 regimes"
    assert overall_verdict([UP, UP], lower=True) == "loss in 2 of 2 regimes"


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (UP, "better"),
        (DOWN, "worse"),
        (LEVEL, "tie"),
        (ONE_SEED, "one seed: no interval"),
        (None, "no seed in common with random"),
        (Interval(mean=0.0, n=3, sd=0.0, low=0.0, high=0.0), "identical"),
        (Interval(mean=0.1, n=3, sd=0.0, low=0.1, high=0.1), "constant difference"),
    ],
)
def test_one_regime_never_says_win(difference: Interval | None, verdict: str) -> None:
    assert verdict_in_cell(difference, "random", lower=False) == verdict


def test_without_a_baseline_nothing_is_said() -> None:
    assert verdict_in_cell(UP, None, lower=False) == "no baseline"


@pytest.mark.parametrize(
    ("metric", "is_lower"),
    [
        ("test/nll", True),
        ("best/test/ece", True),
        ("train/loss", True),
        ("test/accuracy", False),
        ("test/balanced_accuracy", False),
        ("test/macro_f1", False),
        ("test/recall/ece_man", False),
    ],
)
def test_the_last_word_of_a_metric_tells_which_way_is_better(metric: str, is_lower: bool) -> None:
    assert lower_is_better(metric) is is_lower
