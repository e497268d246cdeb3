"""From a sweep's YAML to the runs it stands for, the same ones each time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from al_orchestrator.config import ExperimentConfig, identity_digest, load_config
from al_orchestrator.config.source import Override, read_source
from al_orchestrator.errors import ConfigError
from al_orchestrator.sweeps.config import SweepConfig

_ILLEGAL = re.compile(r"[^A-Za-z0-9._]+")


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    options: Mapping[str, str]  # axis -> what its option is called
    config: ExperimentConfig

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def seed(self) -> int:
        return self.config.seed


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, seed by seed, so that a sweep cut short has whole comparisons."""

    name: str
    axes: Mapping[str, tuple[str, ...]]  # axis -> what its options are called
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    regimes: frozenset[str] = frozenset()
    """Axes that set nothing but the budget: their options are regimes, and need no other name."""


@dataclass(frozen=True)
class _Option:
    label: str
    sets: Mapping[str, Any]  # dotted field -> value

    @property
    def is_budget(self) -> bool:
        return all(field.split(".")[0] == "budget" for field in self.sets)


def load_plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Reads a sweep and expands it.

    Args:
        path: The sweep's YAML.
        overrides: ``a.b=value`` for the experiment, on top of all that the sweep sets.

    Raises:
        ConfigError: The sweep, or one of its runs, is no valid configuration; or two of its runs
            are the same.
    """
    path = Path(path)
    sweep, folder = _read(path)
    base = folder / sweep.base
    own = [Override.parse(text) for text in overrides]
    common = _overrides(sweep.set, f"{path}: set", folder)
    axes = {name: _options(path, name, values, base) for name, values in sweep.axes.items()}
    trials = [
        Trial(
            options=dict(zip(axes, (option.label for option in chosen), strict=True)),
            config=load_config(
                base,
                [
                    *common,
                    *(o for option in chosen for o in _overrides(option.sets, str(path), folder)),
                    *own,
                    Override(("seed",), seed, f"{path}: seeds"),
                    Override(("name",), _run_name(sweep.name, chosen, seed), f"{path}: name"),
                ],
            ),
        )
        for seed in sweep.every_seed
        for chosen in itertools.product(*axes.values())
    ]
    _refuse_twins(path, trials)
    _refuse_tuning(path, axes, trials)
    labels = {name: tuple(option.label for option in options) for name, options in axes.items()}
    regimes = (name for name, options in axes.items() if all(o.is_budget for o in options))
    return Plan(sweep.name, labels, tuple(sweep.every_seed), tuple(trials), frozenset(regimes))


def is_sweep(path: Path) -> bool:
    """Whether a YAML file is meant as a sweep, and not as an experiment."""
    return path.suffix in {".yaml", ".yml"} and "base" in read_source(path).data


def _read(path: Path) -> tuple[SweepConfig, Path]:
    source = read_source(path)
    if "base" not in source.data and "dataset" in source.data:
        raise ConfigError(f"{path} is an experiment, not a sweep: alo run {path}")
    if "space" in source.data:
        raise ConfigError(f"{path} is a search, not a sweep: alo tune {path}")
    source.data.setdefault("name", path.stem)
    try:
        return SweepConfig.model_validate(source.data), source.folder
    except ValidationError as error:
        raise source.explain(error, SweepConfig, "a sweep") from None


def _options(path: Path, axis: str, values: Any, base: Path) -> list[_Option]:
    is_field = axis.split(".")[0] in ExperimentConfig.model_fields
    options: list[_Option]
    if is_field:
        named = values if isinstance(values, dict) else {_label(axis, v): v for v in values}
        if len(named) < len(values):
            raise ConfigError(
                f"{path}: axis {axis}: two options have the same name; name them, as in "
                f"{{first: …, second: …}}"
            )
        is_component = isinstance(_at(read_source(base).data, axis), Mapping)
        options = [
            _Option(label, {axis: {"name": v} if is_component and isinstance(v, str) else v})
            for label, v in named.items()
        ]
    else:
        options = list(_sets_of_fields(path, axis, values))
    for option in options:
        if not _ILLEGAL.sub("", option.label):
            raise ConfigError(f"{path}: axis {axis}: {option.label!r} cannot name a run")
    return options


def _sets_of_fields(path: Path, axis: str, values: Any) -> Iterator[_Option]:
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: axis {axis}: the experiment has no such field; then name its options and "
            f"what each of them sets, as in {axis}: {{first: {{trainer.epochs: 10}}}}"
        )
    for label, sets in values.items():
        if not isinstance(sets, dict):
            raise ConfigError(
                f"{path}: axis {axis}: option {label} is to map fields to values, as in "
                f"{label}: {{trainer.epochs: 10}}; it is {sets!r}"
            )
        yield _Option(str(label), sets)


def _label(axis: str, value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        rest = [f"{key}{v}" for key, v in value.items() if key != "name"]
        return "-".join([str(value["name"]), *rest])
    if isinstance(value, str):
        return value
    return f"{axis.rsplit('.', 1)[-1]}{value}"


def _at(data: Mapping[str, Any], dotted: str) -> Any:
    here: Any = data
    for part in dotted.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


def _overrides(sets: Mapping[str, Any], where: str, folder: Path) -> list[Override]:
    return [
        Override(tuple(field.split(".")), value, f"{where}: {field}", folder)
        for field, value in sets.items()
    ]


def _run_name(sweep: str, chosen: Sequence[_Option], seed: int) -> str:
    parts = [_ILLEGAL.sub("", option.label) for option in chosen]
    return "-".join([sweep, *parts, f"s{seed}"])


def _refuse_tuning(
    path: Path, axes: Mapping[str, Sequence[_Option]], trials: Sequence[Trial]
) -> None:
    """Strategies are compared under the same settings, or it is declared that they are not."""
    if all("strategy_tuning" in trial.config.protocol.allow for trial in trials):
        return
    for axis, options in axes.items():
        fields = {field for option in options for field in option.sets}
        others = {field for field in fields if field.split(".")[0] != "strategy"}
        if others and len(others) < len(fields):
            raise ConfigError(
                f"{path}: axis {axis} sets the strategy and {', '.join(sorted(others))}, so that "
                "what differs may be either; make them two axes, or declare it with "
                "set: {protocol.allow: [strategy_tuning]} and every result is marked"
            )


def _refuse_twins(path: Path, trials: Sequence[Trial]) -> None:
    by_name: dict[str, Trial] = {}
    by_identity: dict[str, Trial] = {}
    for trial in trials:
        twin = by_name.setdefault(trial.name, trial)
        if twin is not trial:
            raise ConfigError(f"{path}: two runs are called {trial.name}; name the options apart")
        twin = by_identity.setdefault(identity_digest(trial.config), trial)
        if twin is not trial:
            raise ConfigError(
                f"{path}: {twin.name} and {trial.name} are the same experiment: an option changes "
                "nothing, or only limits and rules that say when a run ends; run the longest "
                "alone, its curve holds the shorter ones"
            )
