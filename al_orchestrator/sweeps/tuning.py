"""Hyperparameters searched once, on the seed set and by the validation set, then kept.

Whatever is tried is an ordinary run of one round, so its ledger says whether it is done; a search
killed anywhere and begun again does what is left. The test set is never asked, and fields of the
trainer alone may be searched: what is found serves all strategies and rounds alike (Lüth et al.
2023, arXiv 2301.10625; Munjal et al. 2022, arXiv 2002.09564).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from al_orchestrator.config import ExperimentConfig, load_config
from al_orchestrator.config.source import Override, read_source
from al_orchestrator.errors import ConfigError
from al_orchestrator.files import digest_of_json
from al_orchestrator.metric_names import is_of_validation_set, lower_is_better
from al_orchestrator.reports.curves import FINISHED
from al_orchestrator.reports.runs import status_of
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps.asha import Job, promote_asynchronously
from al_orchestrator.sweeps.plan import Plan, Trial
from al_orchestrator.sweeps.searches import Asha, Grid, Halving, Range, Rungs, Suggested
from al_orchestrator.sweeps.standing import Standing, standings
from al_orchestrator.sweeps.tune_config import TuneConfig

Settings = Mapping[str, Any]
"""Dotted fields of the experiment and what they are set to."""

Run = Callable[[Plan], Sequence[Standing]]
"""Runs what is left of a plan."""


@dataclass(frozen=True)
class Tried:
    """One setting and what it came to."""

    settings: Settings
    value: float | None  # mean over seeds; None: no run of it was measured
    rung: int  # from 0; of halving, and of asha
    effort: int | None  # of these two: what the field was set to


@dataclass(frozen=True)
class Tuning:
    """A search that knows its experiment."""

    config: TuneConfig
    base: Path
    folder: Path
    source: Path

    def settings(self) -> list[dict[str, Any]]:
        """What the search begins with, each setting once, the same every time.

        Of a search that is `Suggested`, from end to end what may be suggested.
        """
        space, search = self.config.space, self.config.search
        if isinstance(search, Suggested):
            return _from_end_to_end(space)
        if isinstance(search, Grid):
            lists = [values for values in space.values() if isinstance(values, list)]
            return [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*lists)]
        found: list[dict[str, Any]] = []
        for trial in range(search.trials):
            drawn = np.random.default_rng([search.seed, trial]).random(len(space))
            values = {
                field: options.at(u)
                if isinstance(options, Range)
                else options[int(u * len(options))]
                for (field, options), u in zip(sorted(space.items()), drawn, strict=True)
            }
            if values not in found:
                found.append(values)
        return found

    def rungs(self) -> list[int | None]:
        """Effort of each rung, the last as the experiment has it; one without effort otherwise."""
        search = self.config.search
        if not isinstance(search, Rungs):
            return [None]
        full: Any = self.experiment({}, 0, "base").model_dump()
        for part in search.field.split("."):
            full = full.get(part) if isinstance(full, dict) else None
        if not isinstance(full, int) or isinstance(full, bool):
            raise ConfigError(f"{self.source}: search.field: {search.field} is no whole number")
        steps = int(math.log(search.trials, search.factor) + 1e-9)
        return [max(1, full // search.factor**step) for step in range(steps, -1, -1)]

    def experiment(self, settings: Settings, seed: int, name: str) -> ExperimentConfig:
        """The experiment with these settings."""
        where = str(self.source)
        is_component = read_source(self.base).data

        def value_of(field: str, value: Any) -> Any:
            here: Any = is_component
            for part in field.split("."):
                here = here.get(part) if isinstance(here, Mapping) else None
            return (
                {"name": value} if isinstance(here, Mapping) and isinstance(value, str) else value
            )

        return load_config(
            self.base,
            [
                *(
                    Override(tuple(field.split(".")), value, f"{where}: {field}", self.folder)
                    for field, value in self.config.set.items()
                ),
                *(
                    Override(tuple(field.split(".")), value_of(field, value), f"{where}: {field}")
                    for field, value in settings.items()
                ),
                Override(("seed",), seed, f"{where}: seeds"),
                Override(("name",), name, f"{where}: name"),
            ],
        )

    def plan(self, settings: Sequence[Settings], rung: int, effort: int | None) -> Plan:
        """The runs of a rung: the seed set alone, whatever the strategy."""
        trials = []
        for seed in range(self.config.seeds):
            for each in settings:
                label = "-".join(_label(field, value) for field, value in each.items())
                full = {**each, self._effort_field: effort} if effort is not None else {**each}
                # By what is tried, not by its place: a search that grows keeps what it knows.
                name = f"{self.config.name}-{rung}-{digest_of_json(full)[:8]}-s{seed}"
                config = self.experiment(full, seed, name)
                trials.append(Trial({"settings": label}, _of_the_seed_set(config)))
        labels = tuple(dict.fromkeys(trial.options["settings"] for trial in trials))
        seeds = tuple(range(self.config.seeds))
        return Plan(self.config.name, {"settings": labels}, seeds, tuple(trials))

    @property
    def _effort_field(self) -> str:
        search = self.config.search
        return search.field if isinstance(search, Rungs) else ""


def load_tuning(path: str | Path) -> Tuning:
    """Reads a search.

    Raises:
        ConfigError: It is no valid search, or one of its settings no valid experiment.
    """
    path = Path(path)
    source = read_source(path)
    if "space" not in source.data and ("axes" in source.data or "dataset" in source.data):
        kind, command = ("a sweep", "sweep") if "axes" in source.data else ("an experiment", "run")
        raise ConfigError(f"{path} is {kind}, not a search: alo {command} {path}")
    source.data.setdefault("name", path.stem)
    try:
        config = TuneConfig.model_validate(source.data)
    except ValidationError as error:
        raise source.explain(error, TuneConfig, "a search") from None
    tuning = Tuning(config, source.folder / config.base, source.folder, path)
    plan = tuning.plan(tuning.settings(), 0, tuning.rungs()[0])
    if any(trial.config.validation.split == "test" for trial in plan.trials):
        raise ConfigError(
            f"{path} would tune by the test set, which is validation.split here; it decides nothing"
        )
    none = next((t.config for t in plan.trials if not t.config.validation.may_be_there), None)
    if none is not None and is_of_validation_set(config.metric):
        raise ConfigError(
            f"{path} searches by {config.metric}, and there is no validation set, as "
            f"validation.{'merge is true' if none.validation.merge else 'size is 0'} in "
            f"{config.base}; change it there, or under set:"
        )
    return tuning


def tune(tuning: Tuning, root: str | Path, run: Run) -> list[Tried]:
    """Tries what there is to try, and returns everything that was measured, best first.

    Settings of a later rung come before those of an earlier one. A setting without a measured run
    is last, and never goes on.

    Args:
        tuning: Of `load_tuning`.
        root: Workspace of the runs.
        run: See `Run`.
    """
    workspace = Workspace(Path(root).resolve())
    if isinstance(tuning.config.search, Suggested):
        return _as_suggested(tuning, tuning.config.search, workspace, run)
    if isinstance(tuning.config.search, Asha):
        return _asynchronously(tuning, tuning.config.search, workspace, run)
    settings: list[Settings] = list(tuning.settings())
    search = tuning.config.search
    rungs = tuning.rungs()
    tried: list[Tried] = []
    for rung, effort in enumerate(rungs):
        values = _measure(tuning, settings, rung, effort, workspace, run)
        found = [Tried(each, v, rung, effort) for each, v in zip(settings, values, strict=True)]
        found = _best_first(found, tuning.config.metric)
        tried = [*found, *tried]
        measured = [one for one in found if one.value is not None]
        if isinstance(search, Halving) and rung + 1 < len(rungs):
            settings = [one.settings for one in measured[: max(1, len(settings) // search.factor)]]
        if not settings or not measured:
            break
    return tried


def _asynchronously(tuning: Tuning, search: Asha, workspace: Workspace, run: Run) -> list[Tried]:
    """Promotes by what the ledgers say, each time anew; see `promote_asynchronously`."""
    metric, settings = tuning.config.metric, tuning.settings()
    efforts = [effort for effort in tuning.rungs() if effort is not None]
    sign = -1 if lower_is_better(metric) else 1

    def plan_of(job: Job) -> Plan:
        return tuning.plan([settings[job.setting]], job.rung, efforts[job.rung])

    def measure(jobs: Sequence[Job]) -> list[float | None]:
        plans = [plan_of(job) for job in jobs]
        trials = tuple(trial for plan in plans for trial in plan.trials)
        run(replace(plans[0], trials=trials))  # of several rungs, side by side
        found = [
            _values(plan, [settings[job.setting]], workspace, metric)[0]
            for plan, job in zip(plans, jobs, strict=True)
        ]
        return [None if value is None else sign * value for value in found]

    done = promote_asynchronously(
        len(settings), efforts, factor=search.factor, together=search.together, measure=measure
    )
    tried = [
        Tried(
            settings[job.setting],
            None if value is None else sign * value,
            job.rung,
            efforts[job.rung],
        )
        for job, value in done.items()
    ]
    by_rung = [[one for one in tried if one.rung == rung] for rung in range(len(efforts))]
    return [one for rung in reversed(by_rung) for one in _best_first(rung, metric)]


def _as_suggested(tuning: Tuning, search: Suggested, workspace: Workspace, run: Run) -> list[Tried]:
    """Tries what is suggested, some at a time, and tells of each what came of it.

    Nothing is kept of it: begun again, the same is suggested, its ledgers are there, and what they
    say is told anew.
    """
    from al_orchestrator.sweeps.suggesting import Suggestions

    metric = tuning.config.metric
    suggestions = Suggestions(search, tuning.config.space, lower_is_better=lower_is_better(metric))
    tried: dict[str, Tried] = {}
    for done in range(0, search.trials, search.together):
        asked = suggestions.ask(min(search.together, search.trials - done))
        settings = {digest_of_json(dict(each)): each for each in asked}  # each of them once
        values = _measure(tuning, list(settings.values()), 0, None, workspace, run)
        by_key = dict(zip(settings, values, strict=True))
        tried |= {key: Tried(settings[key], by_key[key], 0, None) for key in settings}
        suggestions.tell([by_key[digest_of_json(dict(each))] for each in asked])
    return _best_first(list(tried.values()), metric)


def _from_end_to_end(space: Mapping[str, Range | list[Any]]) -> list[dict[str, Any]]:
    """Both ends of every range, and every listed value."""
    ends = {
        field: [options.low, options.high] if isinstance(options, Range) else options
        for field, options in space.items()
    }
    most = max(map(len, ends.values()))
    return [{field: v[min(n, len(v) - 1)] for field, v in ends.items()} for n in range(most)]


def _best_first(tried: Sequence[Tried], metric: str) -> list[Tried]:
    sign = -1 if lower_is_better(metric) else 1
    return sorted(
        tried,
        key=lambda one: -math.inf if one.value is None else sign * one.value,
        reverse=True,
    )


def _measure(
    tuning: Tuning,
    settings: Sequence[Settings],
    rung: int,
    effort: int | None,
    workspace: Workspace,
    run: Run,
) -> list[float | None]:
    """Runs what is left of these settings; what each came to."""
    plan = tuning.plan(settings, rung, effort)
    run(plan)
    return _values(plan, settings, workspace, tuning.config.metric)


def _values(
    plan: Plan, settings: Sequence[Settings], workspace: Workspace, metric: str
) -> list[float | None]:
    """The mean of each setting over those of its runs that were measured, if all were."""
    found: list[list[float]] = [[] for _ in settings]
    for number, stands in enumerate(standings(workspace, plan.trials)):
        if stands.state != FINISHED:  # or its ledger is of another experiment
            continue
        trial = stands.trial
        measured = [r.metrics for r in status_of(workspace.run(trial.name)).rounds if r.metrics]
        if measured:
            if metric not in measured[-1]:
                raise ConfigError(
                    f"run {trial.name} has no {metric}; it has {', '.join(sorted(measured[-1]))}. "
                    "Without a validation set there is nothing to tune by: set validation.size"
                )
            found[number % len(settings)].append(measured[-1][metric])
    whole = len(plan.seeds)
    return [sum(each) / whole if len(each) == whole else None for each in found]


def _of_the_seed_set(config: ExperimentConfig) -> ExperimentConfig:
    budget = type(config.budget)(
        initial=config.budget.initial, batch_size=config.budget.batch_size, rounds=1
    )
    return config.model_copy(update={"budget": budget})


def _label(field: str, value: Any) -> str:
    return f"{field.rsplit('.', 1)[-1]}={value}"
