"""Runs of a group put together as one curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from al_orchestrator.errors import ConfigError
from al_orchestrator.reports import RunCurve, compare, plot_cells
from al_orchestrator.reports.plots import mean_curve

MakeRun = Callable[..., RunCurve]
METRIC = "test/accuracy"


def test_the_mean_and_its_interval_stand_at_each_label_count(make_run: MakeRun) -> None:
    seeds = [make_run("badge", seed, [0.1 * seed, 0.5, 0.6]) for seed in (1, 2, 3)]
    curve = mean_curve(seeds, METRIC)
    assert curve.labels.tolist() == [10, 20, 30]
    np.testing.assert_allclose(curve.mean, [0.2, 0.5, 0.6])
    assert curve.low is not None
    np.testing.assert_allclose(curve.low, [0.2 - 0.2484, 0.5, 0.6], atol=1e-4)
    assert len(curve.runs) == 3


def test_seeds_with_other_rounds_meet_on_their_lines(make_run: MakeRun) -> None:
    fine = make_run("badge", 0, [0.0, 0.2, 0.4])
    coarse = make_run("badge", 1, [0.2, 0.6], labels=(10, 30))
    curve = mean_curve([fine, coarse], METRIC)
    np.testing.assert_allclose(curve.mean, [0.1, 0.3, 0.5])


def test_the_mean_ends_where_the_first_seed_does(make_run: MakeRun) -> None:
    done = make_run("badge", 0, [0.1, 0.2, 0.3])
    begun = make_run("badge", 1, [0.1, 0.4], labels=(10, 20))
    curve = mean_curve([done, begun], METRIC)
    assert curve.labels.tolist() == [10, 20]
    assert curve.runs[0][0].tolist() == [10, 20, 30]


def test_one_seed_has_no_band(make_run: MakeRun) -> None:
    curve = mean_curve([make_run("badge", 0, [0.1, 0.2, 0.3])], METRIC)
    assert curve.low is None
    assert curve.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_each_regime_has_a_figure_of_its_own(make_run: MakeRun, tmp_path: Path) -> None:
    few = make_run("badge", 0, [0.1, 0.2, 0.3])
    many = make_run("badge", 0, [0.2, 0.3, 0.4], labels=(100, 200, 300))
    path = tmp_path / "compare" / "accuracy.svg"
    assert plot_cells(compare([few], METRIC), [few], path) == [path]
    both = plot_cells(compare([few, many], METRIC), [few, many], path)
    assert [p.name for p in both] == ["accuracy-faces-10-10.svg", "accuracy-faces-100-100.svg"]
    assert ">300</text>" in both[1].read_text()
    assert ">300</text>" not in both[0].read_text()


def test_a_figure_of_an_unknown_kind_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("badge", 0, [0.1, 0.2, 0.3])
    with pytest.raises(ConfigError, match=r"'a\.gif' must end in \.png or \.svg"):
        plot_cells(compare([run], METRIC), [run], tmp_path / "a.gif")
