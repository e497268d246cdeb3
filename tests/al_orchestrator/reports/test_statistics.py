"""Intervals and tests over seeds, against tables and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from al_orchestrator.reports import Interval, t_interval
from al_orchestrator.reports.statistics import holm, paired_p, smallest_visible_difference


def test_three_values_give_the_interval_of_a_t_table() -> None:
    interval = t_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.sd, interval.n) == (2.0, 1.0, 3)
    # t(.975, 2) = 4.303; 4.303 / sqrt(3) = 2.484
    assert interval.half_width == pytest.approx(2.484, abs=1e-3)
    assert interval.low == pytest.approx(2 - 2.484, abs=1e-3)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    assert t_interval([0.5]) == Interval(mean=0.5, n=1, sd=None, low=None, high=None)
    assert t_interval([0.5]).sign is None


def test_no_seed_has_not_even_a_mean() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


@pytest.mark.parametrize(
    ("values", "sign"), [([0.9, 1.0, 1.1], 1), ([-0.9, -1.0, -1.1], -1), ([-1.0, 0.0, 1.1], 0)]
)
def test_the_sign_is_the_side_of_zero_the_interval_lies_on(values: list[float], sign: int) -> None:
    assert t_interval(values).sign == sign


@pytest.mark.parametrize("n", [3, 5, 20])
def test_intervals_hold_the_truth_95_times_in_100(n: int) -> None:
    samples = np.random.default_rng(n).normal(0.3, 2.0, (4_000, n))
    held = [i.low <= 0.3 <= i.high for i in map(t_interval, samples) if i.low and i.high]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


def test_p_of_a_hand_worked_example() -> None:
    # Mean 2, sd 1, n 3: t = 3.4641 with 2 degrees of freedom, where p = 1 - t / sqrt(2 + t²).
    t = 2 * np.sqrt(3)
    assert paired_p([1.0, 2.0, 3.0]) == pytest.approx(1 - t / np.sqrt(2 + t**2))


@pytest.mark.parametrize("differences", [[0.1], [0.1, 0.1, 0.1], [0.3 - 0.2, 0.4 - 0.3]])
def test_one_pair_or_equal_differences_have_no_p(differences: list[float]) -> None:
    assert paired_p(differences) is None


def test_holm_steps_down_and_never_back() -> None:
    # .01 * 4, then .02 * 3, then .03 * 2 raised to the step before, then .5 * 1.
    adjusted = holm({"c": 0.03, "a": 0.01, "d": 0.5, "b": 0.02})
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.5})


def test_holm_never_exceeds_one() -> None:
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_keeps_the_error_of_a_family_below_the_level() -> None:
    rng = np.random.default_rng(0)
    families = rng.random((4_000, 5))
    wrong = [min(holm(dict(zip("abcde", f, strict=True))).values()) < 0.05 for f in families]
    assert np.mean(wrong) < 0.055


@pytest.mark.parametrize(
    ("n", "effect"), [(3, 3.26), (4, 2.13), (5, 1.68), (8, 1.16), (10, 1.00), (20, 0.66)]
)
def test_the_smallest_visible_difference_is_that_of_power_tables(n: int, effect: float) -> None:
    differences = Interval(mean=0.0, n=n, sd=1.0, low=-1.0, high=1.0)
    assert smallest_visible_difference(differences) == pytest.approx(effect, abs=0.006)


@pytest.mark.parametrize("n", [2, 100])
def test_a_visible_difference_is_found_four_times_in_five(n: int) -> None:
    sd = 0.5
    effect = smallest_visible_difference(Interval(mean=0.0, n=n, sd=sd, low=-1.0, high=1.0))
    assert effect is not None
    samples = np.random.default_rng(n).normal(effect, sd, (4_000, n))
    found = [t_interval(sample).sign == 1 for sample in samples]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


def test_one_pair_makes_nothing_visible() -> None:
    assert smallest_visible_difference(t_interval([0.1])) is None
