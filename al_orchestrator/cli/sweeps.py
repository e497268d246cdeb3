"""`alo sweep`: one command for a grid of experiments."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from al_orchestrator.cli.options import DEFAULT_ROOT, Json, Quiet, Root, Set, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from al_orchestrator.sweeps import Plan, Standing

_WAITING = 3


def add_to(app: typer.Typer) -> None:
    app.command()(sweep)


def sweep(
    config: Annotated[Path, typer.Argument(help="A sweep's YAML.", show_default=False)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which runs there are, and what is left.")
    ] = False,
    set_: Set = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run a grid of experiments, as many at once as there is room for, or what is left of it.

    Example: alo sweep experiments/sweeps/tiny_strategies.yaml --dry-run
    """
    from al_orchestrator import logs
    from al_orchestrator.cli.signals import obeying_schedulers
    from al_orchestrator.run_dir import Workspace
    from al_orchestrator.sweeps import load_plan, run_sweep, show_sweep, standings

    plan = load_plan(config, set_ or ())
    if dry_run:
        found = standings(Workspace(root.resolve()), plan.trials)
        if as_json:
            print_json([each.to_json() for each in found])
        else:
            _show_plan(plan, found)
        return 0
    console = logs.configure(quiet=quiet)

    def progress(over: int, total: int, stands: Standing) -> None:
        if not quiet:
            words = f"[{over}/{total}] {stands.trial.name}: {_in_words(stands)}"
            console.print(words, markup=False, highlight=False, soft_wrap=True)

    with obeying_schedulers():
        found = run_sweep(plan, root, watcher=logs.Bar(console), progress=progress)
        shown = show_sweep(plan, root)
    if as_json:
        print_json([each.to_json() for each in found])
    elif not quiet:
        _show_end(config, root, found)
        if shown is not None:
            typer.echo(f"page, tables and curves: {shown}")
    return _exit_code(found)


def _exit_code(found: Sequence[Standing]) -> int:
    states = {each.state for each in found}
    if states == {"finished"}:
        return 0
    return _WAITING if states <= {"finished", "waiting"} else 1


def _in_words(stands: Standing) -> str:
    if stands.why:
        return f"{stands.state}: {stands.why}"
    return (
        f"{stands.state}, {stands.labels} labels in {stands.rounds} rounds, {stands.seconds:.0f} s"
    )


def _show_plan(plan: Plan, found: Sequence[Standing]) -> None:
    from al_orchestrator.sweeps.standing import at_once, remaining_seconds

    for axis, options in plan.axes.items():
        typer.echo(f"{axis}: {', '.join(options)}")
    alone = " (one alone: a comparison will have no interval)" if len(plan.seeds) == 1 else ""
    typer.echo(f"seeds: {', '.join(map(str, plan.seeds))}{alone}")
    for each in found:
        typer.echo(f"  {each.trial.name:50} {_in_words(each) if each.state != 'new' else 'new'}")
    left = [each for each in found if not each.is_over]
    budget = plan.trials[0].config.budget
    typer.echo(
        f"{len(found)} runs, {len(left)} left; the first buys {budget.initial} labels, "
        f"then {budget.batch_size} a round"
    )
    seconds, beside = remaining_seconds(found), at_once(plan.trials)
    if not left:
        return
    if seconds is None:
        typer.echo("no run has finished yet, so there is nothing to estimate the time from")
    else:
        typer.echo(
            f"about {_duration(seconds / beside)} with {beside} at once, "
            "by the mean of the runs that have finished"
        )


def _show_end(config: Path, root: Path, found: Sequence[Standing]) -> None:
    states = Counter(each.state for each in found)
    typer.echo(", ".join(f"{count} {state}" for state, count in states.items()))
    causes: dict[str, list[str]] = {}
    for each in found:
        if each.why:
            causes.setdefault(each.why, []).append(each.trial.name)
    for why, runs in causes.items():
        others = f" and {len(runs) - 1} others" if len(runs) > 1 else ""
        typer.echo(f"  {runs[0]}{others}: {why}", err=True)
    where = "" if root == DEFAULT_ROOT else f" --root {root}"
    if states["finished"] == len(found) and len({each.trial.seed for each in found}) == 1:
        typer.echo(
            f"one seed, so no difference has an interval: alo compare {config}{where}; more "
            "`seeds` in the sweep tell which are real"
        )
    elif states["finished"] == len(found):
        typer.echo(f"which differences are real: alo compare {config}{where}")
    else:
        typer.echo(f"what is left: alo sweep {config}{where}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
