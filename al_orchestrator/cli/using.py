"""`alo train`, `alo predict`, `alo evaluate`: a learner by itself, without acquisition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Quiet, Root, Run, Set, print_json

if TYPE_CHECKING:
    from al_orchestrator.predicting import Evaluated, Learner, Predicted


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
    from al_orchestrator.checking import on_all_labels
    from al_orchestrator.cli.runs import drive
    from al_orchestrator.config import load_config

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
    run: Annotated[str, typer.Argument(help="A run, or a checkpoint's file.", show_default=False)],
    data: Annotated[
        Path | None,
        typer.Option(
            help="An experiment's YAML whose dataset to take (a run's own if left out); for a file "
            "its trainer says what network it is."
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Which split of it.")
    ] = "test",
    classes: Annotated[
        str | None, typer.Option(help="Of a file: its classes in order, with commas.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Of a file: means it was trained with, with commas.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Of a file: deviations it was trained with, with commas.")
    ] = None,
    channel_order: Annotated[
        Literal["rgb", "bgr"] | None,
        typer.Option(help="Of a file: the order in which it saw colours (OpenCV reads bgr)."),
    ] = None,
    set_: Set = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Measure a run's learner, or somebody's checkpoint, on a dataset with the same classes.

    Example: alo evaluate quickstart --split val
    """
    import tempfile

    from al_orchestrator.config import load_config
    from al_orchestrator.datasets import pack
    from al_orchestrator.errors import ConfigError
    from al_orchestrator.predicting import evaluate as measure
    from al_orchestrator.predicting import learner_from_file, learner_of
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace

    workspace = Workspace(root.resolve())
    config = None if data is None else load_config(data, set_ or ())
    with tempfile.TemporaryDirectory(prefix="alo-adopt-") as folder:
        if Path(run).is_file():
            if config is None:
                raise ConfigError(f"{run} is a file; say what network it is with --data EXPERIMENT")
            packed = pack(config.dataset, workspace.root)
            learner = learner_from_file(
                Path(run),
                config,
                packed,
                Path(folder),
                classes=classes.split(",") if classes else (),
                normalisation=_normalisation(mean, std),
                channel_order=channel_order,
            )
        else:
            found = find_run(workspace, run)
            learner = learner_of(found)
            dataset = learner.config.dataset if config is None else config.dataset
            packed = pack(dataset, found.folder.parent)
        result = measure(learner, packed, split)
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
    _show_evaluated(learner, result, split)


def _normalisation(mean: str | None, std: str | None) -> tuple[list[float], list[float]] | None:
    from al_orchestrator.errors import ConfigError

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise ConfigError("--mean and --std go together")
    try:
        both = [[float(value) for value in text.split(",")] for text in (mean, std)]
    except ValueError as error:
        raise ConfigError(f"--mean and --std are numbers with commas between: {error}") from error
    return both[0], both[1]


def _show_evaluated(learner: Learner, result: Evaluated, split: str) -> None:
    trained = f", trained on {learner.labelled:,} labels" if learner.labelled else ""
    typer.echo(f"{learner.run}{trained}: {result.images:,} {split} images")
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
    from al_orchestrator.reports.exchange import write_rows

    rows = [
        {
            "path": str(path),
            "label": learner.classes[int(row.argmax())],
            **{f"log_prob_{name}": value for name, value in zip(learner.classes, row, strict=True)},
        }
        for path, row in zip(found.paths, found.log_probs, strict=True)
    ]
    write_rows(rows, out)
