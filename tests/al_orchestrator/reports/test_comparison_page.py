"""The page of a comparison: whole, equal to the table, and in need of nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from pages import Page

from al_orchestrator.reports import RunCurve, compare
from al_orchestrator.reports.comparison_page import comparison_page

MakeRun = Callable[..., RunCurve]
METRIC = "test/accuracy"


@pytest.fixture
def runs(make_run: MakeRun) -> list[RunCurve]:
    return [
        make_run(group, seed, [0.1, 0.2 + add + seed / 50, 0.3 + add + seed / 40], labels=labels)
        for labels in ((10, 20, 30), (50, 100, 150))
        for group, add in (("random", 0.0), ("margin <b>", 0.1), ("badge", -0.1))
        for seed in range(4)
    ]


def test_the_page_is_whole_and_loads_nothing(runs: list[RunCurve]) -> None:
    page = comparison_page(compare(runs, METRIC), runs, title="a & b", card={"seeds": "0, 1"})
    read = Page(page)
    assert read.open == []
    assert read.sources == []
    assert re.findall(r"<link|@import|url\(http", page.split("<script")[0]) == []
    words = " ".join(" ".join(read.text).split())
    assert "a & b" in words
    assert "margin <b>" in words  # escaped: it is text, no element
    assert "win in 2 of 2 regimes" in words
    assert "row beats the column" in words
    assert "seeds 0, 1" in words


def test_each_table_has_a_figure_with_the_means_of_its_runs(runs: list[RunCurve]) -> None:
    comparison = compare(runs, METRIC)
    page = comparison_page(comparison, runs, title="t")
    read = Page(page)
    drawn = [script for script in read.scripts if "Plotly.newPlot(" in script[:4000]]
    assert len(drawn) == len(comparison.cells)
    assert sum(len(script) > 1_000_000 for script in read.scripts) == 1  # the library, once
    for script, cell in zip(drawn, comparison.cells, strict=True):
        start = script.index("[", script.index("Plotly.newPlot("))
        traces, _ = json.JSONDecoder().raw_decode(script[start:])
        names = [trace["name"] for trace in traces if "name" in trace]
        assert names == [row.group for row in cell.rows]
        assert len(traces) == 3 * (1 + 4 + 1)  # of each group a band, the seeds, the mean


def test_the_page_is_equal_when_written_again(runs: list[RunCurve]) -> None:
    comparison = compare(runs, METRIC)
    pages = [comparison_page(comparison, runs, title="t") for _ in range(2)]
    assert pages[0] == pages[1]
