"""Charts and tables in characters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.reports import as_text, chart, round_table
from al_orchestrator.rounds import Round, RoundState

RISING = """\
acc: 0.0000 at 10, 1.0000 at 40 labels
1.000 |      **
      |    **
      |  **
0.000 |**
      +--------
       10 40 labels"""


def test_a_straight_line_rises_from_corner_to_corner() -> None:
    drawn = chart([10, 20, 40], [0.0, 1 / 3, 1.0], title="acc", width=8, height=4, is_plain=True)
    assert drawn == RISING


def test_a_braille_character_holds_two_by_four_dots() -> None:
    # Eight dots from the lower left to the upper right corner of two characters.
    lines = chart([0, 1], [0.0, 1.0], title="t", width=2, height=1).splitlines()
    assert lines[1].endswith("│⡠⠊")


def test_a_level_curve_runs_through_the_middle() -> None:
    lines = chart([1, 2], [0.5, 0.5], title="t", width=8, height=3, is_plain=True).splitlines()
    assert [line.count("*") for line in lines[1:4]] == [0, 8, 0]


def test_one_round_is_drawn_too() -> None:
    assert "0.5000 at 35" in chart([35], [0.5], title="acc")


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.integers(8, 70),
    st.integers(2, 20),
    st.booleans(),
)
def test_a_chart_has_the_size_asked_for(
    values: list[float], width: int, height: int, is_plain: bool
) -> None:
    labels = [35 * (number + 1) for number in range(len(values))]
    drawn = chart(labels, values, title="t", width=width, height=height, is_plain=is_plain)
    lines = drawn.splitlines()
    assert len(lines) == height + 3
    margin = len(lines[-2]) - width
    assert all(len(line) <= margin + width for line in lines[1 : height + 1])
    assert drawn.isascii() is is_plain


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12, unique=True))
def test_the_line_has_no_gaps(values: list[float]) -> None:
    labels = list(range(len(values)))
    rows = chart(labels, values, title="t", width=30, height=10, is_plain=True).splitlines()[1:11]
    grid = [row.split("|")[1].ljust(30) for row in rows]
    columns = [{y for y in range(10) if grid[y][x] == "*"} for x in range(30)]
    for before, after in pairwise(columns):
        assert after == set(range(min(after), max(after) + 1))
        assert min(abs(a - b) for a in before for b in after) <= 1


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 label counts and 1 values"):
        chart([1, 2], [0.5], title="t")


def test_a_round_shows_what_it_measured_and_a_dash_for_what_it_did_not() -> None:
    measured = Round(
        number=2,
        state=RoundState.CLOSED,
        labelled=1_750,
        metrics={"test/accuracy": 0.51234, "test/nll": 1.5},
        seconds={"train": 12.34},
    )
    begun = Round(number=3, state=RoundState.OPEN, labelled=1_925)
    lines = as_text(round_table([measured, begun])).splitlines()
    cells = [line.split() for line in lines]
    dash = "–"
    assert [
        "2",
        "closed",
        "1,750",
        "0.512",
        dash,
        dash,
        "1.500",
        dash,
        "12.3",
        dash,
        dash,
    ] in cells
    assert ["3", "open", "1,925", *[dash] * 8] in cells


def test_a_table_for_a_file_has_no_colours() -> None:
    assert "\x1b" not in as_text(round_table([Round(0, RoundState.OPEN, 10)]))
