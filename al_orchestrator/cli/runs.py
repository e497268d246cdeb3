"""The verbs on one run: run, resume, status, sync; and ui and gc on all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Quiet, Root, Run, Set, print_json
from al_orchestrator.errors import AloError

if TYPE_CHECKING:
    from al_orchestrator.config import ExperimentConfig
    from al_orchestrator.reports.runs import RunStatus

_WAITING = 3


def add_to(app: typer.Typer) -> None:
    for command in (run, resume, status, sync, ui, gc):
        app.command()(command)


def run(
    config: Annotated[Path, typer.Argument(help="An experiment's YAML.", show_default=False)],
    set_: Set = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run an experiment to its end, or go on with it where it stopped.

    Example: alo run experiments/quickstart.yaml --set strategy.name=margin --set name=margin
    """
    from al_orchestrator.config import load_config

    return drive(load_config(config, set_ or ()), root, as_json=as_json, quiet=quiet)


def resume(
    run: Run,
    set_: Set = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done.")] = False,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Go on with a run where it stopped, from the configuration in its folder.

    Example: alo resume quickstart --set budget.rounds=10
    """
    from al_orchestrator.config import load_config
    from al_orchestrator.reports.runs import find_run, plan_of, status_of
    from al_orchestrator.run_dir import Workspace

    found = find_run(Workspace(root.resolve()), run)
    config = load_config(found.config, [*(set_ or ()), f"name={found.name}"])
    if plan:
        typer.echo(plan_of(status_of(found)))
        return 0
    return drive(config, found.folder.parent, as_json=as_json, quiet=quiet)


def drive(config: ExperimentConfig, root: Path, *, as_json: bool, quiet: bool) -> int:
    """Drives a run as far as it goes and shows what came of it; returns the exit code."""
    from al_orchestrator import logs
    from al_orchestrator.cli.signals import obeying_schedulers
    from al_orchestrator.experiment import Experiment
    from al_orchestrator.reports.runs import status_of

    console = logs.configure(quiet=quiet)
    with obeying_schedulers():
        with (
            Experiment.open(config, root, watcher=logs.Bar(console)) as experiment,
            logs.also_to_file(experiment.run.log),
        ):
            for _ in experiment.rounds():
                pass
        reached = status_of(experiment.run)
    if as_json:
        print_json(reached.to_json())
    elif not quiet:
        _show_result(reached, root, experiment.unsent)
    if experiment.waiting_for:
        typer.echo(
            f"{experiment.waiting_for} labels are missing: alo labels export {reached.run} FILE "
            f"--pending, then alo labels import {reached.run} FILE, then the same command again",
            err=True,
        )
        return _WAITING
    return 0


def _show_result(status: RunStatus, root: Path, unsent: int) -> None:
    from rich.console import Console

    from al_orchestrator.reports.tables import round_table
    from al_orchestrator.reports.terminal import chart

    console = Console()
    measured = [r for r in status.rounds if r.metrics]
    if not measured:
        return
    console.print(round_table(status.rounds))
    accuracy = [r.metrics["test/accuracy"] for r in measured if "test/accuracy" in r.metrics]
    if len(accuracy) == len(measured) > 1:
        plain = not console.encoding.lower().startswith("utf")
        labels = [r.labelled for r in measured]
        typer.echo(chart(labels, accuracy, title="test accuracy", is_plain=plain))
    if status.stopped:
        typer.echo(f"\nstopped: {status.stopped}")
    if unsent:
        typer.echo(f"\n{unsent} messages wait for the tracking server: alo sync {status.run}")
    elif status.config.tracking.name == "mlflow":
        where = "" if root == DEFAULT_ROOT else f" --root {root}"
        typer.echo(f"\ncurves, artifacts and comparisons in MLflow: alo ui{where}")


def status(
    run: Annotated[str | None, typer.Argument(help="A run; all of them if left out.")] = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Show how runs stand: rounds, state, labels spent, metrics, where time went.

    Example: alo status quickstart --json
    """
    from rich.console import Console

    from al_orchestrator.reports.runs import find_run, status_of
    from al_orchestrator.reports.status import run_details, runs_table
    from al_orchestrator.run_dir import Workspace

    workspace = Workspace(root.resolve())
    if run is not None:
        one = status_of(find_run(workspace, run))
        if as_json:
            print_json(one.to_json())
        else:
            Console().print(run_details(one))
        return
    statuses = []
    for each in workspace.runs():
        try:
            statuses.append(status_of(each))
        except AloError as error:
            typer.echo(f"{each.name}: {error}", err=True)
    if as_json:
        print_json([each.to_json() for each in statuses])
    elif statuses:
        Console().print(runs_table(statuses))
    else:
        typer.echo(f"no runs in {workspace.root}")


def sync(
    run: Annotated[str | None, typer.Argument(help="A run; all of them if left out.")] = None,
    root: Root = DEFAULT_ROOT,
) -> int:
    """Send what the tracking server has missed.

    Example: alo sync
    """
    from al_orchestrator import logs
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace
    from al_orchestrator.syncing import sync_run

    logs.configure(quiet=False)
    workspace = Workspace(root.resolve())
    chosen = [find_run(workspace, run)] if run is not None else workspace.runs()
    left = 0
    for each in chosen:
        try:
            sent, unsent = sync_run(each, Workspace(each.folder.parent))
        except AloError as error:
            left += 1
            typer.echo(f"{each.name}: {error}", err=True)
            continue
        left += unsent
        typer.echo(f"{each.name}: {sent} sent, {unsent} left")
    return 1 if left else 0


def ui(
    root: Root = DEFAULT_ROOT,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> int:
    """Open MLflow's pages on the workspace's runs.

    Example: alo ui --port 5001
    """
    import os
    import subprocess

    from al_orchestrator.tracking import MLflowTracking
    from al_orchestrator.tracking.ui import UI_ENVIRONMENT, ui_command

    command = ui_command(MLflowTracking().place(root.resolve()), port=port)
    typer.echo(f"http://127.0.0.1:{port}/ shows {root.resolve()}; Ctrl-C ends it")
    return subprocess.run(command, env={**os.environ, **UI_ENVIRONMENT}, check=False).returncode


def gc(root: Root = DEFAULT_ROOT) -> None:
    """Remove what interrupted work left behind: files no ledger names.

    Example: alo gc
    """
    from al_orchestrator.cleaning import clean_workspace
    from al_orchestrator.run_dir import Workspace

    freed = clean_workspace(Workspace(root.resolve()))
    typer.echo(f"{freed / 2**20:.1f} MiB freed")
