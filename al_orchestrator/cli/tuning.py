"""`alo tune`: hyperparameters searched once, before any strategy is compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Quiet, Root, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from al_orchestrator.sweeps import Plan, Standing
    from al_orchestrator.sweeps.searches import Range
    from al_orchestrator.sweeps.tuning import Tried, Tuning


def add_to(app: typer.Typer) -> None:
    app.command()(tune)


def tune(
    config: Annotated[Path, typer.Argument(help="A search's YAML.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Write the experiment with the best settings (.yaml).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be tried.")
    ] = False,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Search a trainer's settings on the seed set, by the validation set; then keep them.

    Example: alo tune experiments/searches/tiny_probe.yaml --out tuned.yaml
    """
    from al_orchestrator.sweeps.tuning import load_tuning

    tuning = load_tuning(config)
    if dry_run:
        _show_plan(tuning)
        return 0
    tried = _search(tuning, root, quiet=quiet)
    if as_json:
        print_json([vars(one) for one in tried])
    else:
        _show(tuning, tried)
    best = tried[0]
    if best.value is None:
        return 1
    if out is not None:
        _write(tuning, best, tried, out)
        typer.echo(f"{out}: the experiment with the best settings", err=as_json)
    return 0


def _search(tuning: Tuning, root: Path, *, quiet: bool) -> list[Tried]:
    from al_orchestrator import logs
    from al_orchestrator.cli.signals import obeying_schedulers
    from al_orchestrator.executors import keeping_ray_open
    from al_orchestrator.sweeps import run_sweep
    from al_orchestrator.sweeps.tuning import tune as tuned

    console = logs.configure(quiet=quiet)

    def progress(over: int, total: int, stands: Standing) -> None:
        if not quiet:
            options = stands.trial.options["settings"]
            words = f"[{over}/{total}] {stands.trial.name} {options}: {stands.why or stands.state}"
            console.print(words, markup=False, highlight=False, soft_wrap=True)

    def run(plan: Plan) -> list[Standing]:
        return run_sweep(plan, root, watcher=logs.Bar(console), progress=progress)

    with obeying_schedulers(), keeping_ray_open():
        return tuned(tuning, root, run)


def _show_plan(tuning: Tuning) -> None:
    search = tuning.config.search
    if search.name == "optuna":
        for field, options in tuning.config.space.items():
            typer.echo(f"  {field}: {options if isinstance(options, list) else _ends(options)}")
        tried = f"{search.trials} settings × {tuning.config.seeds} seeds"
        typer.echo(f"{tried}, suggested by {search.sampler}, {search.together} at a time")
        return
    settings = tuning.settings()
    for each in settings:
        typer.echo("  " + ", ".join(f"{field}: {value}" for field, value in each.items()))
    rungs = [effort for effort in tuning.rungs() if effort is not None]
    effort = f", effort {', '.join(map(str, rungs))}" if rungs else ""
    typer.echo(f"{len(settings)} settings × {tuning.config.seeds} seeds{effort}")


def _ends(options: Range) -> str:
    return f"{options.low} to {options.high}" + ", logarithmic" * options.log


def _show(tuning: Tuning, tried: Sequence[Tried]) -> None:
    for one in tried:
        value = "failed" if one.value is None else f"{one.value:.4f}"
        effort = f" with {one.effort}" if one.effort is not None else ""
        settings = ", ".join(f"{field}: {given}" for field, given in one.settings.items())
        typer.echo(f"  {value:>8}{effort}  {settings}")
    best = tried[0]
    if best.value is None:
        typer.echo("nothing could be measured; the causes are above")
        return
    typer.echo(f"best by {tuning.config.metric}, of {len(tried)} tried:")
    typer.echo("  " + " ".join(f"--set {field}={given}" for field, given in best.settings.items()))


def _write(tuning: Tuning, best: Tried, tried: Sequence[Tried], out: Path) -> None:
    from al_orchestrator.config import dump_config
    from al_orchestrator.files import write_text

    name = out.stem
    config = tuning.experiment(best.settings, 0, name)
    found = ", ".join(f"{field}: {value}" for field, value in best.settings.items())
    source = (
        f"alo tune {tuning.source.name}, {len(tried)} tried on {config.budget.initial:,} labels by "
        f"{tuning.config.metric} ({best.value:.4f}): {found}"
    )
    protocol = config.protocol.model_copy(update={"settings_from": source})
    write_text(out, dump_config(config.model_copy(update={"protocol": protocol})))
