"""`alo train`, `alo predict`, `alo evaluate`: a learner by itself, without acquisition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Quiet, Root, Run, Set, print_json

if TYPE_CHECKING:
    from al_orchestrator.predicting import Learner, Predicted


def add_to(app: typer.Typer) -> None:
    for command in (train, predict, evaluate):
        app.command()(command)


def train(
    config: Annotated[Path, typer.Argument(help="An experiment's YAML.", show_default=False)],
    set_: Set = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train an experiment's learner once, on all labels of the pool: the ceiling of its curves.

    Example: alo train experiments/quickstart.yaml
    """
    from al_orchestrator.cli.runs import drive
    from al_orchestrator.config import load_config
    from al_orchestrator.experiment import on_all_labels

    chosen = on_all_labels(load_config(config, set_ or ()), root)
    return drive(chosen, root, as_json=as_json, quiet=quiet)


def predict(
    run: Run,
    images: Annotated[
        list[Path], typer.Argument(help="Image files, or folders of them.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where a table goes (.csv, .parquet), a row an image.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files that are no whole image.")
    ] = False,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Say what a run's learner sees in images: labels with probabilities.

    Example: alo predict quickstart photo.jpg
    """
    from al_orchestrator.predicting import files_of, learner_of, predict_files
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace

    learner = learner_of(find_run(Workspace(root.resolve()), run))
    found = predict_files(learner, files_of(images), skip_bad=skip_bad)
    for file, why in found.skipped.items():
        typer.echo(f"left out {file}: {why}", err=True)
    if out is not None:
        _write(out, learner, found)
    if as_json:
        print_json(_rows(learner, found))
    elif out is None:
        _show(learner, found)
    else:
        typer.echo(f"{len(found.paths):,} images: {out}")


def evaluate(
    run: Run,
    data: Annotated[
        Path | None,
        typer.Option(help="An experiment's YAML whose dataset to take; the run's own if left out."),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Which split of it.")
    ] = "test",
    set_: Set = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Measure a run's learner on a dataset with the same classes.

    Example: alo evaluate quickstart --split val
    """
    from al_orchestrator.config import load_config
    from al_orchestrator.datasets import pack
    from al_orchestrator.predicting import evaluate as measure
    from al_orchestrator.predicting import learner_of
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace

    found = find_run(Workspace(root.resolve()), run)
    learner = learner_of(found)
    dataset = learner.config.dataset if data is None else load_config(data, set_ or ()).dataset
    result = measure(learner, pack(dataset, found.folder.parent), split)
    if as_json:
        print_json(
            {
                "images": result.images,
                "split": split,
                "metrics": result.metrics,
                "classes": list(learner.classes),
                "confusion": result.confusion,
            }
        )
        return
    typer.echo(
        f"{learner.run}, trained on {learner.labelled:,} labels: {result.images:,} {split} images"
    )
    for name, value in result.metrics.items():
        typer.echo(f"  {name:24} {value:.4f}")
    width = max(map(len, learner.classes)) + 1
    typer.echo(f"  {'':{width}}" + "".join(f"{name[:8]:>9}" for name in learner.classes))
    for name, row in zip(learner.classes, result.confusion, strict=True):
        typer.echo(f"  {name:{width}}" + "".join(f"{count:9,}" for count in row))


def _rows(learner: Learner, found: Predicted) -> list[dict[str, object]]:
    import numpy as np

    probs = np.exp(found.log_probs.astype(np.float64))
    return [
        {
            "path": str(path),
            "label": learner.classes[int(row.argmax())],
            "probabilities": dict(zip(learner.classes, row.round(6).tolist(), strict=True)),
        }
        for path, row in zip(found.paths, probs, strict=True)
    ]


def _show(learner: Learner, found: Predicted) -> None:
    for row in _rows(learner, found):
        probabilities: dict[str, float] = row["probabilities"]  # type: ignore[assignment]
        best = sorted(probabilities.items(), key=lambda item: -item[1])[:3]
        typer.echo(f"{row['path']}  " + "  ".join(f"{name} {p:.3f}" for name, p in best))


def _write(out: Path, learner: Learner, found: Predicted) -> None:
    import pyarrow as pa
    from pyarrow import csv, parquet

    from al_orchestrator.errors import ConfigError
    from al_orchestrator.files import replacing

    if out.suffix not in {".csv", ".parquet"}:
        raise ConfigError(f"{out.name!r} must end in .csv or .parquet")
    table = pa.table(
        {
            "path": [str(path) for path in found.paths],
            "label": [learner.classes[int(row.argmax())] for row in found.log_probs],
            **{
                f"log_prob_{name}": found.log_probs[:, code]
                for code, name in enumerate(learner.classes)
            },
        }
    )
    with replacing(out) as temporary:
        if out.suffix == ".csv":
            csv.write_csv(table, temporary)
        else:
            parquet.write_table(table, temporary)
