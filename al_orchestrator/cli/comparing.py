"""`alo compare`: which differences are real; `alo report`: one run as a page."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Root, Run, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from al_orchestrator.reports.comparison import Comparison
    from al_orchestrator.reports.curves import RunCurve
    from al_orchestrator.run_dir import Workspace


def add_to(app: typer.Typer) -> None:
    app.command()(compare)
    app.command()(report)


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, by name (* matches) or folder; or one sweep's YAML.", show_default=False
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="What to compare.")] = "test/accuracy",
    by: Annotated[
        list[str] | None,
        typer.Option(help="The axis of a sweep whose options are compared; repeatable."),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Group to compare with.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the learning curves go (.png, .svg).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with interactive curves; opens offline.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write the results (.csv, .parquet), a row a group.")
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Write the curves (.csv, .parquet), a row a round.")
    ] = None,
    curves_from: Annotated[
        Path | None,
        typer.Option("--curves", help="Compare the curves of such a file instead of runs."),
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(help="Compare the runs of this MLflow experiment instead.")
    ] = None,
    uri: Annotated[
        str | None, typer.Option(help="Where that MLflow is; the workspace's if left out.")
    ] = None,
    detect: Annotated[
        float | None,
        typer.Option(min=0.0, help="Also tell how many seeds would see such a difference."),
    ] = None,
    details: Annotated[
        bool,
        typer.Option(help="Also: suspect rounds, recall of each class, cost, overlap of picks."),
    ] = False,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Compare runs: learning curves with intervals, areas under them, paired differences.

    Example: alo compare quickstart margin --metric test/balanced_accuracy
    """
    from rich.console import Console

    from al_orchestrator.reports.comparison import compare as compared
    from al_orchestrator.reports.details import details_of
    from al_orchestrator.reports.plots import plot_cells
    from al_orchestrator.reports.tables import power_lines, render_table
    from al_orchestrator.run_dir import Workspace

    workspace = Workspace(root.resolve())
    sought = _Sought(runs or [], by or [], curves_from, baseline, metric, mlflow, uri)
    curves, chosen, stem = _curves(workspace, sought)
    result = compared(curves, metric, baseline=chosen)
    target = out or workspace.root / "compare" / f"{stem}{metric.replace('/', '-')}.png"
    figures = plot_cells(result, curves, target)
    written = _Files(html, table, points)
    _write(written, result, curves, workspace, title=sought.title)
    if as_json:
        paths = [str(path) for path in figures]
        plain = [each.to_json() for each in details_of(result, curves)]
        print_json({**result.to_json(), "details": plain, "figures": paths})
        return
    console = Console()
    console.print(render_table(result))
    _show_more(console, result, curves, details=details)
    for line in power_lines(result, detect) if detect else []:
        typer.echo(line)
    for path in figures:
        typer.echo(f"learning curves: {path}")
    if html is not None:
        typer.echo(f"{html}: open it in a browser")


def _show_more(
    console: Console, result: Comparison, curves: Sequence[RunCurve], *, details: bool
) -> None:
    """The details, which read every id that was asked for; or suspect rounds alone."""
    from al_orchestrator.reports.details import details_of
    from al_orchestrator.reports.health import health_of
    from al_orchestrator.reports.sections import health_note, render_sections

    if details:
        for cell, each in zip(result.cells, details_of(result, curves), strict=True):
            console.print(render_sections(each, baseline=cell.baseline))
        return
    for cell in result.cells:
        of_it = [run for run in curves if run.cell == cell.key]
        if note := health_note(health_of(cell, of_it, result.metric)):
            console.print(f"{cell.title}: {note}", style="yellow", markup=False)


@dataclass(frozen=True)
class _Sought:
    """What is to be compared."""

    runs: Sequence[str]
    by: Sequence[str]
    file: Path | None
    baseline: str | None
    metric: str
    experiment: str | None
    uri: str | None

    @property
    def title(self) -> str:
        if self.experiment is not None:
            return f"MLflow: {self.experiment}"
        return self.file.name if self.file is not None else " ".join(self.runs)


@dataclass(frozen=True)
class _Files:
    """What is to be written."""

    html: Path | None
    table: Path | None
    points: Path | None


def _curves(workspace: Workspace, sought: _Sought) -> tuple[list[RunCurve], str | None, str]:
    """Curves, the baseline, and what names of files begin with."""
    from al_orchestrator.errors import ConfigError
    from al_orchestrator.reports.exchange import read_curves
    from al_orchestrator.reports.tracked import curves_of_tracked
    from al_orchestrator.sweeps import is_sweep
    from al_orchestrator.tracking import MLflowTracking

    runs, by, file, baseline = sought.runs, sought.by, sought.file, sought.baseline
    if [bool(runs), file is not None, sought.experiment is not None].count(True) != 1:
        raise ConfigError(
            "name runs, or a sweep's YAML, or a file of curves with --curves, or an experiment "
            "with --mlflow: one of them"
        )
    if file is None and len(runs) == 1 and is_sweep(Path(runs[0])):
        return _of_sweep(workspace, Path(runs[0]), by, baseline)
    if by:
        raise ConfigError("--by names an axis of a sweep; give the sweep's YAML and nothing else")
    if sought.experiment is not None:
        place = MLflowTracking(uri=sought.uri)
        tracked = place.read(workspace.root, sought.experiment, sought.metric)
        return curves_of_tracked(tracked), baseline, f"{sought.experiment}-"
    if file is not None:
        return read_curves(file), baseline, f"{file.stem}-"
    return _of_runs(workspace, runs), baseline, ""


def _write(
    files: _Files,
    result: Comparison,
    curves: Sequence[RunCurve],
    workspace: Workspace,
    *,
    title: str,
) -> None:
    from al_orchestrator.files import write_text
    from al_orchestrator.reports.card import protocol_card
    from al_orchestrator.reports.comparison_page import comparison_page
    from al_orchestrator.reports.exchange import write_curves, write_results

    if files.table is not None:
        write_results(result, files.table)
    if files.points is not None:
        write_curves(curves, files.points)
    if files.html is not None:
        card = protocol_card(workspace, curves)
        write_text(files.html, comparison_page(result, curves, title=title, card=card))


def _of_sweep(
    workspace: Workspace, path: Path, by: Sequence[str], baseline: str | None
) -> tuple[list[RunCurve], str | None, str]:
    from al_orchestrator.errors import ConfigError
    from al_orchestrator.sweeps import load_plan
    from al_orchestrator.sweeps.curves import compared_axes, curves_of, default_baseline

    plan = load_plan(path)
    axes = compared_axes(plan, by)
    curves, left = curves_of(plan, workspace, axes)
    if not curves:
        raise ConfigError(f"no run of {path} has finished in {workspace.root}; alo sweep {path}")
    if left:
        typer.echo(
            f"{left} of {len(plan.trials)} runs have not finished and are left out", err=True
        )
    stem = "-".join([plan.name, *axes, ""])
    return curves, baseline or default_baseline(plan, axes), stem


def _of_runs(workspace: Workspace, names: Sequence[str]) -> list[RunCurve]:
    from al_orchestrator.reports.runs import curve_of, find_run, groups_of, status_of

    there = [run.name for run in workspace.runs()]
    chosen = [match for name in names for match in _matching(name, there)]
    statuses = [status_of(find_run(workspace, name)) for name in dict.fromkeys(chosen)]
    groups = groups_of(statuses)
    return [curve_of(each, groups[each.run]) for each in statuses]


def _matching(name: str, there: Sequence[str]) -> list[str]:
    """The runs a pattern matches; the name itself where it is none or matches nothing."""
    return (fnmatch.filter(there, name) if "*" in name or "?" in name else []) or [name]


def report(
    run: Run,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; <run>.html here if left out.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write a run as one HTML page that opens offline: curves, errors, batches, protocol.

    Example: alo report quickstart
    """
    from al_orchestrator.files import write_text
    from al_orchestrator.reports.page import run_page
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace

    found = find_run(Workspace(root.resolve()), run)
    target = out or Path(f"{found.name}.html")
    write_text(target, run_page(found))
    typer.echo(f"{target}: open it in a browser")
