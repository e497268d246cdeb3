"""Curves and results in files: what is written is what is read, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from al_orchestrator.cli import app
from al_orchestrator.errors import ConfigError
from al_orchestrator.reports import RunCurve, compare
from al_orchestrator.reports.exchange import read_curves, write_curves, write_results

MakeRun = Callable[..., RunCurve]
METRIC = "test/accuracy"


@pytest.fixture
def runs(make_run: MakeRun) -> list[RunCurve]:
    heights = {"random": (0.3, 0.41, 0.5), "badge": (0.4, 0.6, 0.8)}
    return [
        make_run(group, seed, [height, height + 0.1, height + 0.15])
        for group, seeds in heights.items()
        for seed, height in enumerate(seeds)
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_curves_come_back_as_they_were(suffix: str, runs: list[RunCurve], tmp_path: Path) -> None:
    write_curves(runs, tmp_path / f"curves{suffix}")
    back = read_curves(tmp_path / f"curves{suffix}")
    assert compare(back, METRIC) == compare(runs, METRIC)
    assert {run.run for run in back} == {run.run for run in runs}


def test_a_file_of_three_columns_and_a_metric_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    rows = ["group,seed,labels,accuracy"]
    for group, add in (("random", 0.0), ("margin", 0.1)):
        for seed in range(3):
            rows += [
                f"{group},{seed},{n},{0.3 + add + seed / 100 + n / 1000}" for n in (30, 10, 20)
            ]
    path.write_text("\n".join(rows), encoding="utf-8")
    runs = read_curves(path)
    assert len(runs) == 6
    assert runs[0].labels.tolist() == [10, 20, 30]  # in any order
    [cell] = compare(runs, "accuracy").cells
    assert (cell.dataset, cell.baseline) == ("theirs", "random")
    margin = next(row for row in cell.rows if row.group == "margin")
    assert margin.difference is not None
    assert margin.difference.interval.mean == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("group,seed,accuracy\na,0,0.5\n", "no column labels"),
        ("group,seed,labels\na,0,5\n", "no column of a metric"),
        ("group,seed,labels,accuracy\na,0,5,0.1\na,0,5,0.2\n", "they must ascend"),
        ("group,seed,labels,accuracy\na,zero,5,0.1\n", "invalid literal"),
        ("group,seed,labels,accuracy\na,0,5,high\n", "could not convert"),
        ("", "cannot be read"),
    ],
)
def test_what_is_no_file_of_curves_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_curves(tmp_path / "bad.csv")
    with pytest.raises(ConfigError, match=r"must end in \.csv or \.parquet"):
        read_curves(tmp_path / "bad.txt")


def test_results_hold_a_row_for_each_group(runs: list[RunCurve], tmp_path: Path) -> None:
    comparison = compare(runs, METRIC)
    write_results(comparison, tmp_path / "results.parquet")
    write_results(comparison, tmp_path / "results.csv")
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["group"] for row in rows] == ["random", "badge"]
    badge = rows[1]
    [cell] = comparison.cells
    difference = cell.rows[1].difference
    assert difference is not None
    assert badge["difference"] == difference.interval.mean
    assert badge["difference_low"] == difference.interval.low
    assert badge["p_holm"] == difference.p_holm
    assert (badge["labels_to_target"], badge["label_efficiency"]) == (10, 3)
    assert badge["overall_verdict"] == comparison.verdicts["badge"]
    read = pa_csv.read_csv(tmp_path / "results.csv").to_pylist()
    assert np.isclose(read[1]["aulc"], badge["aulc"])


def test_the_command_compares_a_file_and_writes_all_three(
    runs: list[RunCurve], tmp_path: Path
) -> None:
    write_curves(runs, tmp_path / "curves.csv")
    files = {name: tmp_path / name for name in ("page.html", "results.csv", "again.parquet")}
    options = ["--html", files["page.html"], "--table", files["results.csv"], "--points"]
    asked = ["compare", "--curves", tmp_path / "curves.csv", *options, files["again.parquet"]]
    result = CliRunner().invoke(
        app, [str(each) for each in (*asked, "--root", tmp_path, "--detect", "0.05")]
    )
    assert result.exit_code == 0, result.output
    assert all(path.stat().st_size for path in files.values())
    assert "seeds see a difference of 0.05 4 times in 5" in " ".join(result.output.split())
    assert compare(read_curves(files["again.parquet"]), METRIC) == compare(runs, METRIC)


def test_runs_and_a_file_are_not_mixed(tmp_path: Path) -> None:
    for asked in (["compare"], ["compare", "run", "--curves", "a.csv"]):
        result = CliRunner().invoke(app, [*asked, "--root", str(tmp_path)])
        assert isinstance(result.exception, ConfigError)
        assert "one of them" in str(result.exception)
