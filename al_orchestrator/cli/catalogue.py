"""`alo strategies`, `alo datasets`, `alo config`: what there is, and what a file says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Root, Set, print_json

strategies = typer.Typer(help="The query strategies there are.", no_args_is_help=True)
datasets = typer.Typer(help="The datasets there are, and what is in one.", no_args_is_help=True)
config = typer.Typer(help="Check an experiment's YAML.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(help="An experiment's YAML.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    app.add_typer(strategies, name="strategies")
    app.add_typer(datasets, name="datasets")
    app.add_typer(config, name="config")


@strategies.command("list")
def list_strategies(as_json: Json = False) -> None:
    """List every strategy: its name, what it needs of the learner, its idea.

    Example: alo strategies list
    """
    from al_orchestrator.reports.catalogue import strategy_entries

    entries = strategy_entries()
    if as_json:
        print_json([vars(entry) for entry in entries])
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        typer.echo(f"{entry.name:{width}}  {entry.idea}")
        needs = ", ".join(entry.needs) or "nothing"
        typer.echo(f"{'':{width}}    reads {needs}; costs {entry.cost}")


@strategies.command("show")
def show_strategy(name: Annotated[str, typer.Argument()], as_json: Json = False) -> None:
    """Show a strategy: its law, reference, cost, parameters, and where it differs from the paper.

    Example: alo strategies show badge
    """
    from al_orchestrator.reports.catalogue import PARAGRAPHS, strategy_entry

    entry = strategy_entry(name)
    if as_json:
        print_json(vars(entry))
        return
    typer.echo(f"{entry.name}\n\n{entry.description}\n")
    told = {"law": f"version {entry.law}", "reads": ", ".join(entry.needs) or "nothing"}
    told |= {word: vars(entry)[word] for word in PARAGRAPHS if vars(entry)[word]}
    for word, text in told.items():
        typer.echo(_hanging(word, text))
    if entry.parameters:
        typer.echo("\nparameters")
    for field, words in entry.parameters.items():
        typer.echo(_hanging(f"  {field}", words))


def _hanging(word: str, text: str) -> str:
    """A word and its explanation, wrapped below each other."""
    from textwrap import fill

    return fill(f"{word}: {text}", width=100, subsequent_indent="    ", break_on_hyphens=False)


@datasets.command("list")
def list_datasets(as_json: Json = False) -> None:
    """List the kinds of dataset and what each is.

    Example: alo datasets list
    """
    from al_orchestrator.reports.catalogue import dataset_entries

    entries = dataset_entries()
    if as_json:
        print_json([vars(entry) for entry in entries])
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        typer.echo(f"{entry.name:{width}}  {entry.idea}")


@datasets.command("check")
def check_dataset(
    path: Config, set_: Set = None, root: Root = DEFAULT_ROOT, as_json: Json = False
) -> None:
    """Read an experiment's dataset and report classes, duplicates and leaks.

    Example: alo datasets check experiments/fer13_badge.yaml
    """
    from rich.console import Console

    from al_orchestrator.config import load_config
    from al_orchestrator.datasets import describe, pack
    from al_orchestrator.reports.catalogue import summary_table

    summary = describe(pack(load_config(path, set_ or ()).dataset, root.resolve()))
    if as_json:
        print_json(summary.to_json())
        return
    Console().print(summary_table(summary))


@datasets.command("pack")
def pack_dataset(path: Config, set_: Set = None, root: Root = DEFAULT_ROOT) -> None:
    """Pack an experiment's dataset into the workspace ahead of time.

    Example: alo datasets pack experiments/fer13_badge.yaml
    """
    from al_orchestrator.config import load_config
    from al_orchestrator.datasets import pack

    packed = pack(load_config(path, set_ or ()).dataset, root.resolve())
    typer.echo(f"{len(packed.manifest)} images in {packed.folder}")


@config.command("check")
def check_config(path: Config, set_: Set = None, as_json: Json = False) -> None:
    """Check a YAML and print the complete experiment it describes.

    Example: alo config check experiments/quickstart.yaml
    """
    from al_orchestrator.config import dump_config, load_config

    loaded = load_config(path, set_ or ())
    if as_json:
        print_json(loaded.model_dump(mode="json"))
    else:
        typer.echo(dump_config(loaded), nl=False)


@config.command("schema")
def schema() -> None:
    """Print the JSON Schema of an experiment, for editors.

    Example: alo config schema > experiment.schema.json
    """
    from al_orchestrator.config import config_schema

    print_json(config_schema())
