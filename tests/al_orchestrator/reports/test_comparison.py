"""Groups of runs compared."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from al_orchestrator.errors import ConfigError
from al_orchestrator.reports import (
    Row,
    RunCurve,
    as_text,
    compare,
    plot_cell,
    plot_cells,
    render_table,
)
from al_orchestrator.reports.comparison_page import comparison_page
from al_orchestrator.reports.exchange import write_results
from al_orchestrator.reports.tables import power_lines

MakeRun = Callable[..., RunCurve]
METRIC = "test/accuracy"
LEVELS = {"random": 0.5, "badge": 0.6, "margin": 0.4}


@pytest.fixture
def runs(make_run: MakeRun) -> list[RunCurve]:
    """Level curves, so that each area is the height: badge is 0.1, 0.2, 0.3 above random."""
    heights = {"random": (0.3, 0.4, 0.5), "badge": (0.4, 0.6, 0.8)}
    return [
        make_run(strategy, seed, [height] * 3)
        for strategy, seeds in heights.items()
        for seed, height in enumerate(seeds)
    ]


def row_of(runs: list[RunCurve], group: str, **options: str) -> Row:
    [cell] = compare(runs, METRIC, **options).cells
    return next(row for row in cell.rows if row.group == group)


def test_differences_are_paired_by_seed(runs: list[RunCurve]) -> None:
    difference = row_of(runs, "badge").difference
    assert difference is not None
    assert difference.interval.mean == pytest.approx(0.2)
    assert difference.interval.sd == pytest.approx(0.1)
    assert difference.interval.n == 3
    assert difference.interval.low == pytest.approx(0.2 - 0.2484, abs=1e-4)
    assert difference.unpaired_seeds == ()


def test_each_group_has_its_own_mean_and_interval(runs: list[RunCurve]) -> None:
    row = row_of(runs, "badge")
    assert row.seeds == (0, 1, 2)
    assert row.final.mean == pytest.approx(0.6)
    assert row.aulc.mean == pytest.approx(0.6)
    assert row.aulc.sd == pytest.approx(0.2)
    assert row.mean_over_rounds == pytest.approx(0.6)


def test_the_order_of_runs_changes_nothing(runs: list[RunCurve]) -> None:
    shuffled = random.Random(0).sample(runs, len(runs))
    assert compare(shuffled, METRIC) == compare(runs, METRIC)


def test_a_seed_missing_on_one_side_drops_that_pair_alone_and_is_named(
    runs: list[RunCurve],
) -> None:
    without = [run for run in runs if run.run != "faces-badge-1"]
    difference = row_of(without, "badge").difference
    assert difference is not None
    assert difference.interval.mean == pytest.approx(0.2)  # of 0.1 and 0.3
    assert difference.interval.n == 2
    assert difference.unpaired_seeds == (1,)
    table = as_text(render_table(compare(without, METRIC)))
    assert "seeds without a partner, left out of the difference: badge: 1" in table


def test_p_values_of_a_cell_are_one_family(runs: list[RunCurve], make_run: MakeRun) -> None:
    both = [*runs, *(make_run("margin", s, [h] * 3) for s, h in enumerate((0.4, 0.6, 0.8)))]
    difference = row_of(both, "badge").difference
    assert difference is not None
    assert difference.p is not None
    assert difference.p_holm == pytest.approx(2 * difference.p)


def test_everything_is_computed_over_the_labels_all_runs_reach(
    runs: list[RunCurve], make_run: MakeRun
) -> None:
    slow = make_run("margin", 0, [0.1, 0.2], labels=(10, 20), state="interrupted")
    rising = make_run("margin", 1, [0.0, 0.2, 0.4])
    comparison = compare([*runs, slow, rising], METRIC)
    [cell] = comparison.cells
    assert (cell.low, cell.high) == (10, 20)
    row = next(row for row in cell.rows if row.group == "margin")
    assert row.final.mean == pytest.approx(0.2)
    assert row.aulc.mean == pytest.approx((0.15 + 0.1) / 2)
    assert "not finished: faces-margin-0 (interrupted)" in cell.notes
    assert "compared up to 20 of 30 labels, where faces-margin-0 ends" in cell.notes


def test_the_random_group_is_the_baseline_and_stands_first(runs: list[RunCurve]) -> None:
    [cell] = compare(runs, METRIC).cells
    assert cell.baseline == "random"
    assert [(row.group, row.verdict) for row in cell.rows] == [
        ("random", "baseline"),
        ("badge", "tie"),
    ]


def test_another_baseline_may_be_named(runs: list[RunCurve]) -> None:
    difference = row_of(runs, "random", baseline="badge").difference
    assert difference is not None
    assert difference.interval.mean == pytest.approx(-0.2)


def test_an_unknown_baseline_is_answered_with_the_groups(runs: list[RunCurve]) -> None:
    with pytest.raises(ConfigError, match="no group is called 'margin'; there are badge, random"):
        compare(runs, METRIC, baseline="margin")


def test_without_random_runs_nothing_is_compared_and_the_report_says_so(
    runs: list[RunCurve],
) -> None:
    comparison = compare([run for run in runs if run.strategy == "badge"], METRIC)
    [cell] = comparison.cells
    assert cell.baseline is None
    assert cell.rows[0].verdict == "no baseline"
    assert any("name one with a baseline" in note for note in cell.notes)
    assert comparison.notes[0] == "not among the runs: random, margin, entropy, coreset"


def test_one_seed_each_gives_a_difference_and_no_interval(make_run: MakeRun) -> None:
    one = [make_run("random", 0, [0.3] * 3), make_run("badge", 0, [0.4] * 3)]
    row = row_of(one, "badge")
    assert row.verdict == "one seed: no interval"
    assert row.difference is not None
    assert row.difference.interval.mean == pytest.approx(0.1)
    assert row.difference.p is None


def test_whoever_reads_a_comparison_of_one_seed_is_told_that_no_interval_exists(
    make_run: MakeRun, tmp_path: Path
) -> None:
    one = [make_run(name, 3, [0.3, 0.4, level]) for name, level in LEVELS.items()]
    comparison = compare(one, METRIC)
    text = as_text(render_table(comparison))
    page = comparison_page(comparison, one, title="one seed")
    table = tmp_path / "results.csv"
    write_results(comparison, table)
    plot_cells(comparison, one, tmp_path / "curves.png")

    for told in (text, page, json.dumps(comparison.to_json(), allow_nan=False)):
        assert "one seed of every group: no interval and no p value exist" in " ".join(told.split())
    assert "±" not in text
    assert "Holm-adjusted" not in text + page
    assert "Means with 95" not in page
    assert not re.search(r"(?i)\bnan\b|\binf\b", text + table.read_text())
    assert {*comparison.verdicts.values()} == {"baseline", "one seed: no interval"}
    lines = power_lines(comparison, 0.01)
    assert len(lines) == len(LEVELS) - 1
    assert all("one seed in common does not tell" in line for line in lines)


def test_a_group_of_one_seed_among_others_is_named(make_run: MakeRun) -> None:
    several = [make_run("random", seed, [0.3, 0.4, 0.5 + seed / 100]) for seed in range(3)]
    comparison = compare([*several, make_run("badge", 0, [0.3, 0.4, 0.7])], METRIC)
    text = " ".join(as_text(render_table(comparison)).split())
    assert "one seed of badge: no interval" in text
    assert "±" in text
    assert not any("one seed of" in note for note in compare(several, METRIC).cells[0].notes)


def test_two_runs_of_one_group_and_seed_are_refused(
    runs: list[RunCurve], make_run: MakeRun
) -> None:
    twin = make_run("badge", 0, [0.9] * 3, group="badge")
    with pytest.raises(ConfigError, match="are both badge with seed 0"):
        compare([*runs, twin], METRIC)


def test_regimes_are_never_averaged_and_two_of_them_may_make_a_win(make_run: MakeRun) -> None:
    runs = [
        make_run(strategy, seed, [base + 0.001 * seed * lift] * 3, labels=labels)
        for labels in ((10, 20, 30), (100, 200, 300))
        for strategy, base, lift in (("random", 0.3, 1), ("badge", 0.5, 2))
        for seed in range(3)
    ]
    comparison = compare(runs, METRIC)
    assert [(cell.start, cell.step) for cell in comparison.cells] == [(10, 10), (100, 100)]
    assert comparison.verdicts == {"badge": "win in 2 of 2 regimes", "random": "baseline"}
    assert "over 2 regimes" in as_text(render_table(comparison))


def test_one_regime_never_makes_a_win(runs: list[RunCurve]) -> None:
    comparison = compare(runs, METRIC)
    assert "a win takes 2 regimes; this is 1" in comparison.notes
    assert "win" not in comparison.verdicts["badge"]


def test_a_run_of_one_round_is_left_out_of_curves_and_named(
    runs: list[RunCurve], make_run: MakeRun
) -> None:
    begun = make_run("margin", 0, [0.3], labels=(10,))
    comparison = compare([*runs, begun], METRIC)
    assert len(comparison.cells) == 1
    assert "left out, because one round is not a curve: faces-margin-0" in comparison.notes


def test_runs_of_one_round_are_compared_with_each_other(make_run: MakeRun) -> None:
    ceilings = [
        make_run(strategy, seed, [height], labels=(500,))
        for strategy, height in (("random", 0.5), ("badge", 0.6))
        for seed in range(2)
    ]
    row = row_of(ceilings, "badge")
    assert row.aulc.mean == pytest.approx(0.6)
    assert row.verdict == "constant difference"


def test_no_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="name at least one"):
        compare([], METRIC)


def test_a_comparison_goes_through_json(runs: list[RunCurve]) -> None:
    written = json.loads(json.dumps(compare(runs, METRIC).to_json(), allow_nan=False))
    assert written["metric"] == METRIC
    assert written["cells"][0]["rows"][1]["difference"]["interval"]["mean"] == pytest.approx(0.2)


def test_the_table_shows_a_line_for_each_group(runs: list[RunCurve]) -> None:
    table = as_text(render_table(compare(runs, METRIC)))
    [badge] = [line for line in table.splitlines() if line.strip().startswith("badge")]
    assert "0.6000 ± 0.4968" in badge
    assert "+0.2000 [-0.0484, +0.4484]" in badge
    assert badge.endswith("tie")
    assert "faces: 10 labels, then 10 a round · test/accuracy, 10 to 30 labels" in table


def test_a_narrow_terminal_cuts_no_number(runs: list[RunCurve]) -> None:
    comparison = compare(runs, METRIC)
    wide = as_text(render_table(comparison), width=200)
    narrow = as_text(render_table(comparison), width=80)
    assert set(wide.replace("─", "").split()) == set(narrow.replace("─", "").split())
    assert max(map(len, narrow.splitlines())) <= 80


def test_a_name_in_brackets_is_no_markup(make_run: MakeRun) -> None:
    runs = [make_run("badge", 0, [0.1] * 3, group="badge views=[red]", dataset="[bold]faces")]
    table = as_text(render_table(compare(runs, METRIC)))
    assert "badge views=[red]" in table
    assert "[bold]faces" in table


def test_a_cell_is_drawn(runs: list[RunCurve], tmp_path: Path) -> None:
    [cell] = compare(runs, METRIC).cells
    plot_cell(cell, runs, tmp_path / "cell.png", metric=METRIC)
    plot_cell(cell, runs[::-1], tmp_path / "again.png", metric=METRIC)
    with Image.open(tmp_path / "cell.png") as image:
        assert image.size == (1120, 704)
    assert (tmp_path / "cell.png").read_bytes() == (tmp_path / "again.png").read_bytes()
