"""Runs what is left of a sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from al_orchestrator import logs
from al_orchestrator.checking import checked_data
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.controller import Watcher
from al_orchestrator.errors import AloError
from al_orchestrator.executors import Ended, keeping_ray_open, run_side_by_side
from al_orchestrator.experiment import Experiment, has_encoder
from al_orchestrator.files import digest_of_json
from al_orchestrator.pretraining import pretrain
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps.plan import Plan, Trial
from al_orchestrator.sweeps.standing import Standing, standings

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, Standing], None]
"""Told of each run as it ends: how many are over, of how many, and how it stands."""


@dataclass(frozen=True)
class _Task:
    config: dict[str, Any]
    root: Path


def run_sweep(
    plan: Plan, root: str | Path, *, watcher: Watcher | None = None, progress: Progress
) -> list[Standing]:
    """Runs every run of a sweep that has not ended yet, as many at once as there is room for.

    An encoder that several runs start from is pretrained once, before them and with all cores. A
    run that fails is reported with its cause, and the others go on; the next sweep tries it again.

    Args:
        plan: The runs; those with the smallest seeds come first.
        root: Their workspace.
        watcher: Follows pretraining.
        progress: See `Progress`.

    Returns:
        How each run stands afterwards.

    Raises:
        ConfigError: The data or a strategy of some run do not fit; nothing has been started then.
    """
    workspace = Workspace(Path(root).resolve())
    found = standings(workspace, plan.trials)
    left = [each.trial for each in found if not each.is_over]
    for config in _one_for_each_combination(left):
        checked_data(config, workspace)
    failed = _pretrain_shared(left, workspace, watcher)
    over = len(found) - len(left)
    causes: dict[str, str] = {}
    by_name = {trial.name: trial for trial in left}

    def ended(one: Ended) -> None:
        nonlocal over
        over += 1
        if one.why is not None:
            causes[one.name] = one.why
        [stands] = standings(workspace, [by_name[one.name]])
        progress(over, len(found), _with_cause(stands, causes))

    for trial in left:
        if (why := failed.get(trial.name)) is not None:
            ended(Ended(trial.name, why))
    ready = [trial for trial in left if trial.name not in failed]
    with keeping_ray_open():
        for kind in ("in_process", "ray"):
            chosen = [trial for trial in ready if trial.config.executor == kind]
            if chosen:
                configs = {trial.name: trial.config.model_dump(mode="json") for trial in chosen}
                run_side_by_side(
                    _drive,
                    {name: _Task(config, workspace.root) for name, config in configs.items()},
                    chosen[0].config.ray,
                    chosen[0].config.resources,
                    starts_workers=kind == "ray",
                    ended=ended,
                )
    return [_with_cause(each, causes) for each in standings(workspace, plan.trials)]


def _drive(task: _Task) -> None:
    """One run, in a process of its own."""
    config = ExperimentConfig.model_validate(task.config)
    update = {"resources": config.resources.beside_others()}
    with (
        Experiment.open(config.model_copy(update=update), task.root) as experiment,
        logs.also_to_file(experiment.run.log),
    ):
        for _ in experiment.rounds():
            pass


def _one_for_each_combination(trials: Iterable[Trial]) -> Iterator[ExperimentConfig]:
    seen = set()
    for trial in trials:
        options = tuple(trial.options.items())
        if options not in seen:
            seen.add(options)
            yield trial.config


def _pretrain_shared(
    trials: Sequence[Trial], workspace: Workspace, watcher: Watcher | None
) -> dict[str, str]:
    """Makes the encoders several runs start from; returns the runs whose encoder failed, and why.

    Methods that read labels have to wait for those of the run; runs that have theirs need none.
    """
    outcomes: dict[str, str | None] = {}
    failed = {}
    for trial in trials:
        encoder = trial.config.trainer.pretraining()
        if encoder is None or encoder.pretrain is None or encoder.pretrain.reads_labels:
            continue
        if has_encoder(workspace.run(trial.name), workspace):
            continue
        key = _of_encoder(trial.config)
        if key not in outcomes:
            try:
                pretrain(trial.config, workspace.root, watcher=watcher)
                outcomes[key] = None
            except AloError as error:
                outcomes[key] = f"its encoder could not be pretrained: {error}"
        if (why := outcomes[key]) is not None:
            failed[trial.name] = why
    return failed


def _of_encoder(config: ExperimentConfig) -> str:
    """Equal for runs that surely start from the same encoder."""
    encoder = config.trainer.pretraining()
    assert encoder is not None  # the caller has looked
    assert encoder.pretrain is not None
    own = encoder.pretrain.seed
    seed = config.seed if own is None else own
    parts = [config.dataset.model_dump(mode="json"), encoder.model_dump(mode="json"), seed]
    parts.append(config.validation.merge)
    if config.pretrain_on is not None:
        parts.append(config.pretrain_on.model_dump(mode="json"))
    return digest_of_json(parts)


def _with_cause(stands: Standing, causes: dict[str, str]) -> Standing:
    why = causes.get(stands.trial.name)
    if why is None:
        return stands
    # A run that failed before it had a ledger has nobody else to tell of it.
    state = "failed" if stands.state in {"new", "interrupted"} else stands.state
    return Standing(
        stands.trial, state, stands.labels, stands.rounds, stands.seconds, stands.why or why
    )
