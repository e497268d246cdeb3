"""Numbers read from one learning curve."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.errors import ConfigError
from al_orchestrator.reports import RunCurve, aulc, mean_over_rounds
from al_orchestrator.reports.curves import common_range, labels_to_reach

MakeRun = Callable[..., RunCurve]
CURVES = st.lists(
    st.tuples(st.integers(1, 10_000), st.floats(0, 1)),
    min_size=2,
    max_size=12,
    unique_by=lambda p: p[0],
).map(sorted)


def test_the_area_of_a_level_curve_is_its_height() -> None:
    assert aulc(np.array([10, 15, 90]), np.full(3, 0.7)) == pytest.approx(0.7)


def test_the_area_of_a_straight_line_is_its_midpoint_whatever_the_rounds() -> None:
    labels = np.array([0, 1, 7, 10])
    assert aulc(labels, 0.2 + 0.04 * labels) == pytest.approx(0.4)


def test_unequal_steps_are_weighted_by_their_labels() -> None:
    # 10 labels at a mean of 0.5, then 30 at 1.0: (5 + 30) / 40.
    assert aulc(np.array([0, 10, 40]), np.array([0.0, 1.0, 1.0])) == pytest.approx(0.875)


def test_area_and_mean_over_rounds_are_different_numbers() -> None:
    step = np.array([0.0] + [1.0] * 9)
    assert aulc(np.arange(10), step) == pytest.approx(8.5 / 9)  # .944
    assert mean_over_rounds(step) == pytest.approx(0.9)


def test_a_range_within_the_curve_is_cut_out_of_its_lines() -> None:
    # The line y = x / 10 between 2.5 and 7.5, with one round in between.
    assert aulc(np.array([0, 4, 10]), np.array([0.0, 0.4, 1.0]), low=2.5, high=7.5) == 0.5


def test_a_range_of_one_point_gives_the_value_there() -> None:
    assert aulc(np.array([10, 20]), np.array([0.2, 0.4]), low=15, high=15) == pytest.approx(0.3)


@pytest.mark.parametrize(("low", "high"), [(5, 20), (10, 25), (18, 12)])
def test_a_curve_is_never_extrapolated(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="not within the curve, 10 to 20 labels"):
        aulc(np.array([10, 20]), np.array([0.2, 0.4]), low=low, high=high)


@given(CURVES)
def test_the_area_equals_a_sum_of_trapezoids(points: list[tuple[int, float]]) -> None:
    total = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        total += (x1 - x0) * (y0 + y1) / 2
    labels, values = (np.array(axis) for axis in zip(*points, strict=True))
    assert aulc(labels, values) == pytest.approx(total / (points[-1][0] - points[0][0]))


@given(CURVES, st.floats(0, 1), st.floats(0, 1))
def test_the_parts_of_a_range_weigh_as_much_as_the_whole(
    points: list[tuple[int, float]], a: float, b: float
) -> None:
    labels, values = (np.array(axis) for axis in zip(*points, strict=True))
    first, last = float(labels[0]), float(labels[-1])
    cut = first + min(a, b) * (last - first)
    left = aulc(labels, values, high=cut) * (cut - first)
    right = aulc(labels, values, low=cut) * (last - cut)
    assert left + right == pytest.approx(aulc(labels, values) * (last - first))


def test_labels_to_reach_lies_on_the_line_between_two_rounds() -> None:
    labels, values = np.array([10, 20, 40]), np.array([0.2, 0.4, 0.6])
    assert labels_to_reach(labels, values, 0.5) == pytest.approx(30)


def test_a_target_reached_at_once_costs_the_seed_set() -> None:
    assert labels_to_reach(np.array([10, 20]), np.array([0.2, 0.4]), 0.1) == 10


def test_a_target_never_reached_has_no_cost() -> None:
    assert labels_to_reach(np.array([10, 20]), np.array([0.2, 0.4]), 0.5) is None


def test_of_a_target_crossed_twice_the_first_time_counts() -> None:
    labels, values = np.array([10, 20, 30, 40]), np.array([0.0, 0.6, 0.0, 0.6])
    assert labels_to_reach(labels, values, 0.3) == pytest.approx(15)


def test_the_common_range_is_what_every_run_covers(make_run: MakeRun) -> None:
    long = make_run("random", 0, [0.1, 0.2, 0.3])
    late = make_run("badge", 0, [0.2, 0.3], labels=(20, 40))
    assert common_range([long, late]) == (20, 30)


def test_runs_that_do_not_meet_are_named(make_run: MakeRun) -> None:
    early = make_run("random", 0, [0.1, 0.2], labels=(10, 20))
    late = make_run("badge", 0, [0.2, 0.3], labels=(30, 40))
    with pytest.raises(ConfigError, match="faces-random-0 ends at 20 labels, before run faces-b"):
        common_range([late, early])


def test_label_counts_must_ascend(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match=r"\[10, 10\]; they must ascend"):
        make_run("random", 0, [0.1, 0.2], labels=(10, 10))


def test_a_metric_needs_a_value_for_each_round(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="2 values of test/accuracy for 3 rounds"):
        make_run("random", 0, [0.1, 0.2])


def test_a_metric_the_run_lacks_is_answered_with_those_it_has(make_run: MakeRun) -> None:
    with pytest.raises(ConfigError, match="no metric 'test/nll'; it has test/accuracy"):
        make_run("random", 0, [0.1, 0.2, 0.3]).values("test/nll")


def test_a_value_that_is_no_number_is_refused_with_its_place(make_run: MakeRun) -> None:
    run: RunCurve = make_run("random", 0, [0.1, float("nan"), 0.3])
    with pytest.raises(ConfigError, match="is nan at 20 labels"):
        run.values("test/accuracy")
