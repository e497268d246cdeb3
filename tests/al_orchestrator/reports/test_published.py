"""A published table comes out of the raw curves it was made from.

The curves are those of Werner et al., "A Cross-Domain Benchmark for Active Learning" (NeurIPS 2024
Datasets and Benchmarks), as the authors keep them beside their table: Splice, 100 labels a round,
the first 50 runs each of random and BADGE, in the documented format. `labels` are the labels
beyond the seed set. Their area is the mean over rounds, their spread the standard deviation of 50
runs; the table says 0.733 ± 0.013 and 0.743 ± 0.014.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pytest
from numpy.typing import NDArray
from scipy import stats
from typer.testing import CliRunner

from al_orchestrator.cli import app
from al_orchestrator.reports import compare
from al_orchestrator.reports.exchange import read_curves

CURVES = Path(__file__).parent / "published" / "splice_100.csv"
METRIC = "test/accuracy"
TABLE = {"random": (0.733, 0.013), "badge": (0.743, 0.014)}


def means_over_rounds(group: str) -> NDArray[np.float64]:
    runs = sorted(
        (run for run in read_curves(CURVES) if run.group == group), key=lambda run: run.seed
    )
    return np.array([run.metrics[METRIC].mean() for run in runs])


def test_the_command_gives_the_table(tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    words = ["compare", "--curves", str(CURVES), "--table", str(out), "--root", str(tmp_path)]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = pa_csv.read_csv(out).to_pylist()
    assert {row["group"]: round(row["mean_over_rounds"], 3) for row in rows} == {
        group: mean for group, (mean, _) in TABLE.items()
    }
    assert [row["seeds"] for row in rows] == [50, 50]


def test_the_spread_is_the_tables() -> None:
    spreads = {group: round(float(means_over_rounds(group).std()), 3) for group in TABLE}
    assert spreads == {group: spread for group, (_, spread) in TABLE.items()}


def test_all_strategies_of_a_seed_begin_with_one_model() -> None:
    first: dict[str, dict[int, float]] = {group: {} for group in TABLE}
    for run in read_curves(CURVES):
        first[run.group][run.seed] = run.metrics[METRIC][0]
    assert first["random"] == first["badge"]


def test_the_paired_difference_is_the_textbooks() -> None:
    [cell] = compare(read_curves(CURVES), METRIC).cells
    badge = next(row for row in cell.rows if row.group == "badge")
    assert badge.difference is not None
    areas = {
        group: [
            np.trapezoid(run.metrics[METRIC], run.labels) / 400
            for run in sorted(read_curves(CURVES), key=lambda run: run.seed)
            if run.group == group
        ]
        for group in TABLE
    }
    expected = stats.ttest_rel(areas["badge"], areas["random"])
    interval = expected.confidence_interval(0.95)
    assert badge.difference.p == pytest.approx(expected.pvalue)
    assert (badge.difference.interval.low, badge.difference.interval.high) == pytest.approx(
        (interval.low, interval.high)
    )
