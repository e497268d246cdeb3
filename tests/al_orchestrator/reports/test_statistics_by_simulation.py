"""What intervals and verdicts promise, checked where the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from al_orchestrator.reports import RunCurve, compare, t_interval
from al_orchestrator.reports.statistics import paired_p, pairs_needed

MakeRun = Callable[..., RunCurve]
METRIC = "test/accuracy"
TIMES = 2000


@pytest.mark.parametrize("n", [3, 5, 12])
@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_intervals_cover_the_truth_19_times_in_20(n: int, law: str) -> None:
    rng = np.random.default_rng(n)
    draw = rng.normal if law == "normal" else rng.uniform
    truth = 0.0 if law == "normal" else 0.5
    intervals = [t_interval(draw(size=n)) for _ in range(TIMES)]
    covered = np.mean([(i.low or 0) <= truth <= (i.high or 0) for i in intervals])
    # Four standard errors of a share of .95; three uniform values have a little less cover.
    assert covered == pytest.approx(0.95, abs=0.02 if law == "normal" else 0.035)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_false_positives_are_as_rare_as_promised(n: int) -> None:
    rng = np.random.default_rng(n)
    found = [paired_p(rng.normal(size=n).tolist()) for _ in range(TIMES)]
    assert np.mean([p < 0.05 for p in found if p is not None]) == pytest.approx(0.05, abs=0.02)


def test_the_number_of_seeds_told_finds_the_difference_four_times_in_five() -> None:
    sd, difference = 0.01, 0.012
    n = pairs_needed(sd, difference)
    assert n is not None
    rng = np.random.default_rng(0)
    found = [paired_p(rng.normal(difference, sd, size=n).tolist()) for _ in range(TIMES)]
    assert 0.77 < np.mean([p < 0.05 for p in found if p is not None]) < 0.92  # n is whole
    fewer = [paired_p(rng.normal(difference, sd, size=n - 1).tolist()) for _ in range(TIMES)]
    assert np.mean([p < 0.05 for p in fewer if p is not None]) < 0.82


def _curves(
    make_run: MakeRun, rng: np.random.Generator, lifts: dict[str, float], seeds: int
) -> list[RunCurve]:
    """Two regimes; what a seed is worth is shared by all groups, noise is not."""
    runs = []
    for labels in ((10, 20, 30, 40), (100, 200, 300, 400)):
        for seed in range(seeds):
            level = rng.normal(0.5, 0.05)
            for group, lift in lifts.items():
                values = level + lift + rng.normal(0, 0.01, size=4)
                runs.append(make_run(group, seed, values, labels=labels))
    return runs


def test_groups_alike_are_called_a_tie(make_run: MakeRun) -> None:
    rng = np.random.default_rng(7)
    lifts = dict.fromkeys(("random", "a", "b", "c", "d"), 0.0)
    verdicts: list[str] = []
    for _ in range(60):
        found = compare(_curves(make_run, rng, lifts, 5), METRIC).verdicts
        verdicts += [verdict for group, verdict in found.items() if group != "random"]
    # A win takes intervals above 0 in both regimes: .025² by chance, and a loss as much.
    assert sum(verdict.startswith(("win", "loss")) for verdict in verdicts) <= 3
    assert sum(verdict.startswith("tie") for verdict in verdicts) >= 0.85 * len(verdicts)


def test_a_family_errs_no_more_often_than_one_test_may(make_run: MakeRun) -> None:
    rng = np.random.default_rng(11)
    lifts = dict.fromkeys(("random", "a", "b", "c", "d"), 0.0)
    families, wrong = 0, 0
    for _ in range(100):
        for cell in compare(_curves(make_run, rng, lifts, 5), METRIC).cells:
            adjusted = [row.difference.p_holm for row in cell.rows if row.difference is not None]
            families += 1
            wrong += any(p is not None and p < 0.05 for p in adjusted)
    assert wrong / families <= 0.05 + 3 * (0.05 * 0.95 / families) ** 0.5


def test_a_real_difference_hidden_by_seeds_is_found_by_pairing(make_run: MakeRun) -> None:
    rng = np.random.default_rng(3)
    lifts = {"random": 0.0, "better": 0.02, "worse": -0.02}
    comparison = compare(_curves(make_run, rng, lifts, 8), METRIC)
    assert comparison.verdicts["better"].startswith("win")
    assert comparison.verdicts["worse"].startswith("loss")
    for cell in comparison.cells:
        rows = {row.group: row for row in cell.rows}
        # Unpaired, the intervals overlap: seeds differ by far more than groups do.
        assert (rows["better"].aulc.low or 0) < (rows["random"].aulc.high or 0)
