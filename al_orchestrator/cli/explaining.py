"""`alo saliency`: what in an image speaks for the class a learner answers with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Root, Run, print_json


def add_to(app: typer.Typer) -> None:
    app.command()(saliency)


def saliency(
    run: Run,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Image files, or folders of them; left out, a sample of the run's own dataset.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Literal["gradient", "smoothgrad", "gradcam"],
        typer.Option(
            help="The logit's gradient by each pixel, its mean over noisy copies, or the last "
            "map of the network."
        ),
    ] = "gradient",
    samples: Annotated[int, typer.Option(help="smoothgrad: noisy copies of an image.", min=1)] = 50,
    noise: Annotated[
        float, typer.Option(help="smoothgrad: deviation, as a share of the span of values.", min=0)
    ] = 0.15,
    scale: Annotated[
        Literal["image", "row", "all"],
        typer.Option(
            help="What is scaled from 0 to 1: each map, each row of its pixels, or all maps "
            "together."
        ),
    ] = "image",
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write into; <run>-saliency here if left out."),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Of a sample: which split.")
    ] = "test",
    each: Annotated[int, typer.Option(help="Of a sample: images of a class.", min=1)] = 12,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files that are no whole image.")
    ] = False,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Show where a run's learner looks: image, map and overlay as PNG, arrays as .npz.

    Files have a picture each, a sample has one a class and stands on the run's MLflow page too.
    A map is scaled over the whole image; on one scale with `--scale all`, maps can be compared.

    Example: alo saliency quickstart --method gradcam
    """
    from al_orchestrator import explaining
    from al_orchestrator.errors import TrackingError
    from al_orchestrator.predicting import files_of, learner_of
    from al_orchestrator.reports.runs import find_run
    from al_orchestrator.run_dir import Workspace
    from trainers import Saliency

    found = find_run(Workspace(root.resolve()), run)
    learner, how = learner_of(found), Saliency(method, samples=samples, noise=noise)
    if images:
        files = files_of(images)
        explanation = explaining.explain_files(learner, files, how, skip_bad=skip_bad)
    else:
        workspace = Workspace(found.folder.parent)
        explanation = explaining.explain_sample(learner, workspace, how, split=split, each=each)
    for file, why in explanation.skipped.items():
        typer.echo(f"left out {file}: {why}", err=True)
    folder = out or Path(f"{found.name}-saliency")
    pictures = explaining.draw(explanation, folder, scale)
    explaining.save(explanation, folder / "saliency.npz", scale)
    if not images:
        try:
            below = f"saliency/{method}" + ("" if scale == "image" else f"-{scale}")
            explaining.show(found, learner.config, folder.resolve(), below=below)
        except TrackingError as error:
            typer.echo(f"not shown in MLflow: {error}", err=True)
    if not as_json:
        typer.echo(f"{len(explanation.names):,} images: {folder}")
        return
    rows = zip(explanation.names, explanation.pictures, explanation.answers, strict=True)
    print_json(
        {
            "method": method,
            "scale": scale,
            "arrays": str(folder / "saliency.npz"),
            "pictures": [str(path) for path in pictures],
            "images": [
                {
                    "name": name,
                    "picture": f"{picture}.png",
                    "predicted": answer,
                    "probability": probability,
                    **({"label": explanation.labels[n]} if explanation.labels else {}),
                }
                for n, (name, picture, (answer, probability)) in enumerate(rows)
            ],
        }
    )
