"""`alo bars`: what the runs of a sweep came to in the end, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Root, print_json

if TYPE_CHECKING:
    from al_orchestrator.sweeps.bars import BarChart


def add_to(app: typer.Typer) -> None:
    app.command()(bars)


def bars(
    sweep: Annotated[Path, typer.Argument(help="A sweep's YAML.", show_default=False)],
    by: Annotated[str, typer.Option(help="The axis whose options stand beside each other.")],
    colour: Annotated[
        str | None, typer.Option(help="The axis whose options are told apart by colour.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="What to draw, test/accuracy by default; several are told by colour."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=A,B", help="Draw these options of an axis; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the chart goes (.png, .svg).", show_default=False)
    ] = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Draw what a sweep's runs ended with as bars: means over seeds with 95 % intervals.

    Example: alo bars experiments/sweeps/tiny_optimizers.yaml --by optimizer --colour schedule
    """
    from al_orchestrator.errors import ConfigError
    from al_orchestrator.figures import SUFFIXES, grouped_bars
    from al_orchestrator.run_dir import Workspace
    from al_orchestrator.sweeps import load_plan
    from al_orchestrator.sweeps.bars import bar_chart

    workspace, plan = Workspace(root.resolve()), load_plan(sweep)
    parts = [plan.name, by, colour or "metric", "bars.png"]
    target = out or workspace.root / "compare" / "-".join(parts)
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"{target.name!r} must end in {' or '.join(SUFFIXES)}")
    chart = bar_chart(
        plan,
        workspace,
        by=by,
        colour=colour,
        metrics=metric or ["test/accuracy"],
        only=_parsed(only or ()),
    )
    grouped_bars(
        chart.bars, chart.places, chart.colours, target, metric=chart.measured, title=chart.caption
    )
    if as_json:
        print_json({**chart.to_json(), "figure": str(target)})
        return
    _show(chart)
    typer.echo(f"{target}: {chart.metric} {chart.caption}")


def _parsed(only: Sequence[str]) -> dict[str, list[str]]:
    from al_orchestrator.errors import ConfigError

    options: dict[str, list[str]] = {}
    for text in only:
        axis, equals, names = text.partition("=")
        if not equals or not axis or not all(names.split(",")):
            raise ConfigError(f"--only {text}: write it as AXIS=OPTION or AXIS=OPTION,OPTION")
        options.setdefault(axis, []).extend(names.split(","))
    return options


def _show(chart: BarChart) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(chart.by)
    for colour in chart.colours:
        table.add_column(colour, justify="right")
    for place, group in zip(chart.places, chart.bars, strict=True):
        cells = []
        for bar in group:
            spread = "" if bar is None or bar.high is None else f" ± {bar.high - bar.mean:.4f}"
            cells.append("–" if bar is None else f"{bar.mean:.4f}{spread} ({len(bar.values)})")
        table.add_row(place, *cells)
    Console().print(table)
    if chart.left_out:
        typer.echo(f"{chart.left_out} runs have not finished and are left out", err=True)
