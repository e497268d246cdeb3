"""`alo pretrain` and `alo encoders`: encoders learned without labels, and what is known of them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Quiet, Root, Set, print_json

if TYPE_CHECKING:
    from al_orchestrator.encoder_store import StoredEncoder

encoders = typer.Typer(help="The pretrained encoders of a workspace.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.command()(pretrain)
    app.add_typer(encoders, name="encoders")


def pretrain(
    config: Annotated[Path, typer.Argument(help="An experiment's YAML.", show_default=False)],
    set_: Set = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pretrain an experiment's encoder ahead of its run, or go on with it where it stopped.

    Not for supcon, which learns from the labels of the seed set: `alo run` pretrains it.

    Example: alo pretrain experiments/tiny/pretrain_simclr.yaml
    """
    from al_orchestrator import logs
    from al_orchestrator.cli.signals import obeying_schedulers
    from al_orchestrator.config import load_config
    from al_orchestrator.pretraining import pretrain as make

    console = logs.configure(quiet=quiet)
    with obeying_schedulers():
        stored, is_new = make(load_config(config, set_ or ()), root, watcher=logs.Bar(console))
    if as_json:
        print_json({**stored.to_json(), "is_new": is_new})
    elif not quiet:
        if not is_new:
            typer.echo("it is there already (watch_every and workers are no part of what it is):")
        _show(stored)


@encoders.command("list")
def list_encoders(root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """List the encoders of a workspace, the newest first.

    Example: alo encoders list
    """
    from al_orchestrator.encoder_store import EncoderStore
    from al_orchestrator.errors import ConfigError
    from al_orchestrator.run_dir import Workspace

    if not root.is_dir():
        raise ConfigError(f"there is no workspace {root}; name it with --root")
    entries = EncoderStore(Workspace(root.resolve()).encoders).entries()
    if as_json:
        print_json([stored.to_json() for stored in entries])
        return
    for stored in entries:
        recipe = stored.recipe
        typer.echo(
            f"{stored.key[:12]}  {recipe.method['name']:8} {_architecture(stored):18} "
            f"seed {recipe.seed}  {stored.epochs} epochs on {stored.images:,} images  "
            f"{stored.created[:16]}"
        )


@encoders.command("show")
def show_encoder(
    key: Annotated[str, typer.Argument(help="The beginning of its key.", show_default=False)],
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Show an encoder: its recipe, its digest, and how its training went.

    Example: alo encoders show 3f2a
    """
    from al_orchestrator.encoder_store import EncoderStore
    from al_orchestrator.run_dir import Workspace

    stored = EncoderStore(Workspace(root.resolve()).encoders).named(key)
    if as_json:
        print_json({**stored.to_json(), "history": stored.history()})
        return
    _show(stored)


@encoders.command("import")
def import_encoder(
    file: Annotated[Path, typer.Argument(help="A checkpoint.", show_default=False)],
    to: Annotated[Path, typer.Argument(help="The file to write.", show_default=False)],
    network: Annotated[str, typer.Option(help="The network it is of.")] = "resnet18_cifar",
    width: Annotated[
        int | None,
        typer.Option(help="Of its first stage, if not as published (not of resnet18, resnet50)."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="What its names begin with, if that is not found.")
    ] = None,
    channel_order: Annotated[
        Literal["rgb", "bgr"],
        typer.Option(help="In which it saw colours; bgr, as OpenCV reads, is turned to rgb."),
    ] = "rgb",
    allow_missing: Annotated[
        list[str] | None, typer.Option(help="Names (* matches) the file may lack; repeatable.")
    ] = None,
    allow_unexpected: Annotated[
        list[str] | None, typer.Option(help="Names (* matches) to leave aside; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import an encoder from another system's checkpoint and say what became of each name.

    Example: alo encoders import last.pth encoder.pt --network resnet18_cifar
    """
    from pydantic import ValidationError

    from al_orchestrator.errors import ConfigError
    from trainers import Encoder, TrainingError

    fields = {
        "name": network,
        "width": width,
        "weights": file,
        "prefix": prefix,
        "channel_order": channel_order,
        "allow_missing": tuple(allow_missing or ()),
        "allow_unexpected": tuple(allow_unexpected or ()),
    }
    try:
        report = Encoder.model_validate(fields).adopt(to)
    except ValidationError as error:
        said = "; ".join(
            f"--{each['loc'][0] if each['loc'] else 'network'}: {each['msg']}"
            for each in error.errors(include_url=False)
        )
        raise ConfigError(said.replace("--name:", "--network:")) from error
    except TrainingError as error:
        raise ConfigError(str(error)) from error
    if as_json:
        print_json(dict(report))
        return
    for kind, names in report.items():
        few = f"  {', '.join(names[:4])}{', …' if len(names) > 4 else ''}" if names else ""
        typer.echo(f"{kind:10} {len(names):5}{few}")
    sets = {"name": network, "weights": str(to)} | ({"width": str(width)} if width else {})
    if report["missing"]:
        sets["allow_missing"] = f"[{', '.join(repr(name) for name in allow_missing or ())}]"
    words = " ".join(
        "--set " + shlex.quote(f"trainer.encoder.{name}={value}") for name, value in sets.items()
    )
    typer.echo(f"use it: {words}")
    typer.echo("        (and --set trainer.encoder.pretrain=null where the YAML has a pretrain)")


@encoders.command("evaluate")
def evaluate_encoder(
    config: Annotated[Path, typer.Argument(help="An experiment's YAML.", show_default=False)],
    encoder: Annotated[
        str | None,
        typer.Option(help="Another one of the workspace: the beginning of its key."),
    ] = None,
    labels: Annotated[
        int | None, typer.Option(help="Labels of the pool to use, drawn by the seed; else all.")
    ] = None,
    published: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="EPOCHS", help="Also train a head as SimFLE does, so many epochs."
        ),
    ] = None,
    set_: Set = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge an encoder by neighbours and by a linear head, with labels no run of it sees.

    The experiment's own encoder, which is pretrained if it is not there yet; without `pretrain` in
    the YAML the network as it is drawn. Settings are chosen on the validation set.

    Example: alo encoders evaluate experiments/tiny/pretrain_simclr.yaml --labels 200
    """
    from dataclasses import asdict

    from al_orchestrator import logs
    from al_orchestrator.cli.signals import obeying_schedulers
    from al_orchestrator.config import load_config
    from al_orchestrator.encoder_evaluation import evaluate
    from trainers import EncoderEvaluation, PublishedProbe

    console = logs.configure(quiet=quiet)
    probe = None if published is None else PublishedProbe(epochs=published)
    with obeying_schedulers():
        found = evaluate(
            load_config(config, set_ or ()),
            root,
            settings=EncoderEvaluation(published=probe),
            key=encoder,
            labels=labels,
            watcher=logs.Bar(console),
        )
    if as_json:
        print_json(asdict(found))
        return
    typer.echo(
        f"{found.encoder}: {found.labelled:,} labels of the pool, {found.validation:,} choose, "
        f"{found.test:,} test"
    )
    typer.echo(f"{'':32}{'':12}{'validation':>20}{'test':>20}")
    typer.echo(f"{'':32}{'chosen':12}{'accuracy  balanced':>20}{'accuracy  balanced':>20}")
    if not found.validation:
        typer.echo(
            "no validation set, so nothing was chosen: settings are the first of their lists"
        )
    for each in found.judgements:
        numbers = "".join(
            f"{m['accuracy']:11.4f}{m['balanced_accuracy']:9.4f}" if m else f"{'–':>11}{'–':>9}"
            for m in (each.validation, each.test)
        )
        typer.echo(f"{each.method:32}{each.chosen:12}{numbers}")


def _architecture(stored: StoredEncoder) -> str:
    width = stored.recipe.encoder["width"]
    return f"{stored.recipe.encoder['name']}{'' if width is None else f'/{width}'}"


def _show(stored: StoredEncoder) -> None:
    from al_orchestrator.reports.terminal import chart

    recipe = stored.recipe
    typer.echo(f"encoder {stored.key}")
    told = {
        "network": _architecture(stored),
        "method": recipe.method["name"],
        "seed": recipe.seed,
        "images": f"{stored.images:,} of the pool, {stored.labels} labels",
        "training": f"{stored.epochs} epochs, {stored.steps:,} steps, {stored.seconds:.1f} s",
        "weights": f"{stored.digest[:16]} in {stored.path}",
        "computed": ", ".join(f"{name} {value}" for name, value in stored.notes.items()),
    }
    told |= {name: f"{value:.4g}" for name, value in stored.metrics.items()}
    width = max(map(len, told))
    for name, value in told.items():
        typer.echo(f"  {name:{width}}  {value}")
    history = stored.history()
    if len(history) > 1:
        epochs = [int(record["epoch"]) for record in history]
        losses = [record["loss"] for record in history]
        typer.echo(chart(epochs, losses, title="loss", unit="epochs"))
