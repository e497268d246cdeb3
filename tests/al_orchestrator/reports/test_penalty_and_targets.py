"""Who beats whom how often, and with how many labels: cases a reader can check by head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from al_orchestrator.reports import RunCurve, as_text, compare, render_table
from al_orchestrator.reports.penalty import penalty_matrix
from al_orchestrator.reports.statistics import pairs_needed, smallest_visible_difference, t_interval
from al_orchestrator.reports.targets import labels_to_target

MakeRun = Callable[..., RunCurve]
METRIC = "test/accuracy"
LABELS = (10, 20, 30, 40)


def three_seeds(make_run: MakeRun, group: str, *curves: list[float]) -> list[RunCurve]:
    return [make_run(group, seed, curve, labels=LABELS) for seed, curve in enumerate(curves)]


def test_the_row_beats_the_column_where_pairs_agree(make_run: MakeRun) -> None:
    # At 20 labels a is above b by .10, .11, .12; at 30 by .2, -.2, .1; at 40 below by .1, .11, .12.
    b = three_seeds(make_run, "b", *[[0.5, 0.5, 0.5, 0.5]] * 3)
    a = three_seeds(
        make_run, "a", [0.9, 0.60, 0.7, 0.40], [0.9, 0.61, 0.3, 0.39], [0.9, 0.62, 0.6, 0.38]
    )
    found = penalty_matrix([*a, *b], METRIC)
    assert found.groups == ("a", "b")
    assert found.shares == ((None, 1 / 3), (1 / 3, None))
    assert found.points[0][1] == 3  # the first round is no comparison
    assert found.wins == (1 / 3, 1 / 3)


def test_lower_is_better_turns_it_around(make_run: MakeRun) -> None:
    def run(group: str, seed: int, level: float) -> RunCurve:
        return make_run(group, seed, [1.0, level, level], metric="test/nll")

    runs = [run("low", seed, 0.30 + seed / 100) for seed in range(3)]
    runs += [run("high", seed, 0.9) for seed in range(3)]
    found = penalty_matrix(runs, "test/nll")
    assert found.shares[found.groups.index("low")][found.groups.index("high")] == 1.0
    assert found.losses[found.groups.index("high")] == 1.0


def test_pairs_are_by_seed_and_too_few_are_counted_not_used(make_run: MakeRun) -> None:
    a = three_seeds(make_run, "a", *[[0.1, 0.2, 0.3, 0.4]] * 2)
    b = three_seeds(make_run, "b", *[[0.1, 0.3, 0.4, 0.5]] * 3)
    found = penalty_matrix([*a, *b], METRIC)
    assert found.skipped == 3
    assert found.shares == ((None, None), (None, None))


def test_without_an_effect_an_entry_is_about_half_alpha(make_run: MakeRun) -> None:
    rng = np.random.default_rng(0)
    labels = tuple(range(10, 4010, 10))
    runs = [
        make_run(group, seed, rng.normal(size=400), labels=labels)
        for group in ("a", "b", "c")
        for seed in range(5)
    ]
    found = penalty_matrix(runs, METRIC)
    entries = [s for row in found.shares for s in row if s is not None]
    assert len(entries) == 6
    assert np.mean(entries) == pytest.approx(0.025, abs=0.012)


def test_runs_of_different_regimes_are_never_paired(make_run: MakeRun) -> None:
    a = [make_run("a", seed, [0.1, 0.2, 0.3]) for seed in range(3)]
    b = [make_run("b", seed, [0.1, 0.2, 0.3], labels=(10, 15, 20)) for seed in range(3)]
    assert penalty_matrix([*a, *b], METRIC).points == ((0, 0), (0, 0))


def test_labels_to_where_the_baseline_ends(make_run: MakeRun) -> None:
    baseline = {s: make_run("random", s, [0.2, 0.3, 0.4, 0.5], labels=LABELS) for s in range(3)}
    quick = {
        0: make_run("q", 0, [0.2, 0.4, 0.6, 0.7], labels=LABELS),  # 0.5 at 25
        1: make_run("q", 1, [0.2, 0.5, 0.6, 0.7], labels=LABELS),  # at 20
        2: make_run("q", 2, [0.2, 0.3, 0.4, 0.45], labels=LABELS),  # never
    }
    found = labels_to_target(quick, baseline, METRIC, 40)
    assert found is not None
    assert (found.reached, found.seeds) == (2, 3)
    assert found.labels == pytest.approx(25)
    assert found.efficiency == pytest.approx(40 / 25)
    slow = {s: make_run("s", s, [0.1, 0.1, 0.2, 0.3], labels=LABELS) for s in range(3)}
    never = labels_to_target(slow, baseline, METRIC, 40)
    assert never is not None
    assert (never.labels, never.efficiency, never.reached) == (None, None, 0)
    assert labels_to_target({7: quick[0]}, baseline, METRIC, 40) is None


def test_the_table_tells_both(make_run: MakeRun) -> None:
    runs = [
        make_run(group, seed, [0.1, height + seed / 100, height + seed / 90])
        for group, height in (("random", 0.3), ("margin", 0.5), ("badge", 0.2))
        for seed in range(4)
    ]
    text = " ".join(as_text(render_table(compare(runs, METRIC))).split())
    assert "labels to where random ends, median over seeds: badge > 30, margin 15" in text
    assert "row beats column: share of rounds, paired by seed, α 0.05" in text
    assert "up to 2 rounds a pair" in text


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_pairs_needed_is_the_inverse_of_what_pairs_can_see(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    interval = t_interval(values)
    visible = smallest_visible_difference(interval)
    assert visible is not None
    assert interval.sd is not None
    assert pairs_needed(interval.sd, visible * 1.0001) == n
    assert pairs_needed(interval.sd, visible * 0.9999) == n + 1


def test_pairs_needed_at_its_ends() -> None:
    assert [pairs_needed(0.01, d) for d in (0.005, 0.01, 0.02)] == [34, 10, 5]  # as tables have it
    assert pairs_needed(0.0, 0.1) == 2
    assert pairs_needed(1.0, 1e-6) is None
    with pytest.raises(ValueError, match="must be positive"):
        pairs_needed(1.0, 0.0)
