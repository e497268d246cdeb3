"""Comparisons and rounds as tables for the terminal. Nothing is printed here."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from al_orchestrator.reports.cells import Cell, Row
from al_orchestrator.reports.comparison import Comparison
from al_orchestrator.reports.penalty import Penalty
from al_orchestrator.reports.statistics import Interval, pairs_needed
from al_orchestrator.reports.targets import LabelsToTarget
from al_orchestrator.rounds import Round

_MEASURED = {
    "acc": "test/accuracy",
    "bal acc": "test/balanced_accuracy",
    "F1": "test/macro_f1",
    "NLL": "test/nll",
    "ECE": "test/ece",
}
_STAGES = ("train", "score", "select")


def render_table(comparison: Comparison) -> RenderableType:
    """A table for each regime, its notes below, and the verdicts over all of them last."""
    parts: list[RenderableType] = []
    if comparison.marks:
        parts.append(Text(f"NOT BY THE PROTOCOL: {comparison.watermark}", style="bold red"))
    for cell in comparison.cells:
        parts += [_cell_table(cell, comparison.metric), *map(_note, cell_notes(cell))]
    if len(comparison.groups) > 2 and any(map(any, comparison.penalty.points)):
        parts += [_penalty_table(comparison.penalty), *map(_note, penalty_notes(comparison))]
    if len(comparison.cells) > 1:
        parts.append(_verdict_table(comparison))
    return Group(*parts, *map(_note, comparison.notes))


def round_table(rounds: Sequence[Round], *, metric: str = "test/accuracy") -> Table:
    """A line for each round, what it measured, and seconds of each stage."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("round", justify="right")
    table.add_column("state")
    table.add_column("labels", justify="right", no_wrap=True)
    for title, name in _MEASURED.items():
        style = "bold" if name == metric else ""
        table.add_column(title, justify="right", no_wrap=True, style=style)
    for stage in _STAGES:
        table.add_column(stage, justify="right", no_wrap=True, style="dim")
    for each in rounds:
        table.add_row(
            str(each.number),
            str(each.state),
            f"{each.labelled:,}",
            *(_number(each.metrics.get(name), digits=3) for name in _MEASURED.values()),
            *(_seconds(each.seconds.get(stage)) for stage in _STAGES),
        )
    return table


def power_lines(comparison: Comparison, difference: float) -> list[str]:
    """How many seeds would see a true difference of this size, by what these seeds scatter."""
    lines = []
    for cell in comparison.cells:
        for row in cell.rows:
            if row.difference is None:
                continue
            sd = row.difference.interval.sd
            if sd is None:
                lines.append(
                    f"{cell.title}, {row.group}: one seed in common does not tell how seeds "
                    f"scatter, so how many see a difference of {difference:g} is unknown"
                )
                continue
            seeds = pairs_needed(sd, difference)
            needed = "more than 10,000" if seeds is None else f"{seeds:,}"
            lines.append(
                f"{cell.title}, {row.group}: {needed} seeds see a difference of {difference:g} "
                f"4 times in 5 (sd of the difference {sd:.4f})"
            )
    return lines


def as_text(renderable: RenderableType, *, width: int = 120) -> str:
    """The table in plain characters, without colours, for a file or a pipe."""
    page = io.StringIO()
    Console(file=page, width=width, color_system=None, force_terminal=False).print(renderable)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def _cell_table(cell: Cell, metric: str) -> Table:
    table = _titled(f"{cell.title} · {metric}, {cell.low:,} to {cell.high:,} labels")
    against = f"− {cell.baseline}" if cell.baseline else "difference"
    # Where the terminal is narrow, intervals go to a second line and no number is cut.
    table.add_column("group", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    for title in (f"at {cell.high:,}", "AULC", against):
        table.add_column(title, justify="right", min_width=9)
    for title in ("p", "visible"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=9)
    for row in cell.rows:
        table.add_row(*cells_of(row), style="dim" if row.verdict == "baseline" else "")
    return table


def cells_of(row: Row, *, escaped: bool = True) -> list[str]:
    """Group, seeds, end, AULC, difference, p, what is visible, verdict; `escaped` for rich."""
    group, verdict = (escape(each) if escaped else each for each in (row.group, row.verdict))
    first = [group, str(len(row.seeds)), with_half(row.final), with_half(row.aulc)]
    if row.difference is None:
        return [*first, "", "", "", verdict]
    return [
        *first,
        with_ends(row.difference.interval),
        _p_value(row.difference.p_holm),
        _number(row.difference.smallest_visible),
        verdict,
    ]


def cell_notes(cell: Cell) -> list[str]:
    """What has to be said below the table of a cell."""
    unpaired = [
        f"{row.group}: {_listed(row.difference.unpaired_seeds)}"
        for row in cell.rows
        if row.difference is not None and row.difference.unpaired_seeds
    ]
    notes = list(cell.notes)
    if unpaired:
        notes.append(f"seeds without a partner, left out of the difference: {'; '.join(unpaired)}")
    targets = [(row.group, row.to_target) for row in cell.rows if row.to_target is not None]
    if targets:
        each = ", ".join(f"{group} {_target(target)}" for group, target in targets)
        notes.append(f"labels to where {cell.baseline} ends, median over seeds: {each}")
    num_tests = sum(row.difference is not None for row in cell.rows)
    if num_tests and cell.has_intervals:
        notes.append(
            "± and [ ]: 95 % t intervals over seeds; p: of the AULC difference paired by seed, "
            f"Holm-adjusted over {num_tests}; visible: the true difference found 4 times in 5"
        )
    return notes


def _penalty_table(penalty: Penalty) -> Table:
    table = _titled(f"row beats column: share of rounds, paired by seed, α {penalty.alpha:g}")
    table.add_column("")
    for name in (*penalty.groups, "wins"):
        table.add_column(escape(name), justify="right")
    *rows, losses = penalty_rows(penalty)
    for name, *cells in rows:
        table.add_row(escape(name), *cells)
    table.add_row(*losses, style="dim")
    return table


def penalty_rows(penalty: Penalty) -> list[list[str]]:
    """A row for each group, its wins last, and the losses of each below."""
    rows = [
        [
            name,
            *("" if n == number else _number(share, digits=2) for n, share in enumerate(shares)),
            _number(wins, digits=2),
        ]
        for number, (name, shares, wins) in enumerate(
            zip(penalty.groups, penalty.shares, penalty.wins, strict=True)
        )
    ]
    return [*rows, ["losses", *(_number(each, digits=2) for each in penalty.losses), ""]]


def penalty_notes(comparison: Comparison) -> list[str]:
    """What has to be said below the matrix."""
    most = max(map(max, comparison.penalty.points))
    skipped = comparison.penalty.skipped
    left = f"; {skipped} left out for want of three seeds" if skipped else ""
    return [f"up to {most} rounds a pair{left}; without any effect an entry is about .025"]


def _target(target: LabelsToTarget) -> str:
    if target.labels is None or target.efficiency is None:
        return f"> {target.end:,}"
    return f"{target.labels:,.0f} ({target.efficiency:.2f}×)"


def _verdict_table(comparison: Comparison) -> Table:
    regimes = len({cell.regime for cell in comparison.cells})
    cells = f" ({len(comparison.cells)} tables)" if len(comparison.cells) > regimes else ""
    table = _titled(f"over {regimes} regimes{cells}")
    table.add_column("group")
    table.add_column("verdict")
    for group, verdict in comparison.verdicts.items():
        table.add_row(escape(group), escape(verdict))
    return table


def _titled(title: str) -> Table:
    return Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def _note(text: str) -> Text:
    return Text(text, style="dim")


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _number(value: float | None, *, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _p_value(value: float | None) -> str:
    return "<.001" if value is not None and value < 0.001 else _number(value, digits=3)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def with_half(interval: Interval, *, digits: int = 4) -> str:
    """The mean, and half of the interval where there is one."""
    mean, half = f"{interval.mean:.{digits}f}", interval.half_width
    return mean if half is None else f"{mean} ± {half:.{digits}f}"


def with_ends(interval: Interval) -> str:
    """The mean of differences, and both ends of the interval where there is one."""
    if interval.low is None:
        return f"{interval.mean:+.4f}"
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
