"""`alo labels`: taking samples to people, and bringing their answers back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Root, Run

labels = typer.Typer(
    help="Export what was asked and answered, and import answers.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(labels, name="labels")


@labels.command("export")
def export_labels(
    run: Run,
    file: Annotated[Path, typer.Argument(help="CSV to write.")],
    pending: Annotated[bool, typer.Option("--pending", help="Only what awaits an answer.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write round,rank,id,label,source,score in the order of acquisition; the seed set is round 0.

    Example: alo labels export quickstart labels.csv
    """
    from al_orchestrator.reports.labels import export_acquired
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace

    found = find_run(Workspace(root.resolve()), run)
    count = export_acquired(found, file, pending=pending)
    typer.echo(f"{count} rows in {file}")


@labels.command("import")
def import_labels(
    run: Run,
    file: Annotated[Path, typer.Argument(help="CSV with columns id,label; label is a class name.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Record the answers of people; `alo run` then goes on.

    Example: alo labels import quickstart labels.csv
    """
    from al_orchestrator.reports.labels import import_answers
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace

    taken, missing = import_answers(find_run(Workspace(root.resolve()), run), file)
    typer.echo(f"{taken} answers recorded, {missing} still missing")
