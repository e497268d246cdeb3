"""Which fields make an experiment what it is, which may grow, and which are free to change.

*Identity*: a change is another experiment. *Extendable*: the limits of the budget, and the rules
that end a run before it. *Operational*: where and how it runs and is shown, and where the dataset
lies (what it holds is pinned by its fingerprint).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from al_orchestrator.config.models import ExperimentConfig
from al_orchestrator.files import digest_of_json

EXTENDABLE = frozenset({"budget.rounds", "budget.total", "budget.fraction", "stop"})
OPERATIONAL = frozenset(
    {
        "name",
        "executor",
        "ray",
        "resources",
        "retries",
        "tracking",
        "reports",
        "protocol",
        "dataset.path",
        "pretrain_on.path",  # the images are pinned by the encoder's key
    }
)


def identity(config: ExperimentConfig) -> dict[str, Any]:
    """Dotted identity fields with their values, as plain JSON."""
    return {
        path: value
        for path, value in _leaves(config.model_dump(mode="json"))
        if path not in EXTENDABLE and not _is_operational(path)
    }


def identity_digest(config: ExperimentConfig) -> str:
    """Equal for configurations that must give the same results as far as both go."""
    return digest_of_json(identity(config))


def differences(recorded: ExperimentConfig, asked: ExperimentConfig) -> list[str]:
    """One line for each identity field that differs."""
    old, new = identity(recorded), identity(asked)
    return [
        f"  {path}: {old.get(path)!r} is recorded, {new.get(path)!r} is asked for"
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]


def _is_operational(path: str) -> bool:
    return any(path == field or path.startswith(field + ".") for field in OPERATIONAL)


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
