"""Options that commands share, and how results are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path, typer.Option("--root", help="The workspace that holds runs, datasets and mlflow.db.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Override a field of the YAML; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")]
Run = Annotated[str, typer.Argument(help="The run's name, or its folder.", show_default=False)]

DEFAULT_ROOT = Path("runs")


def print_json(value: object) -> None:
    """Prints `value` on stdout, for programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
