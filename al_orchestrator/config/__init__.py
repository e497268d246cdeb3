"""From a YAML file to a checked, complete, frozen experiment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from al_orchestrator.config.identity import differences, identity_digest
from al_orchestrator.config.models import ExperimentConfig, Validation
from al_orchestrator.config.protocol import marks_of, recorded_marks, warnings_of
from al_orchestrator.config.source import Override, Source, dump_yaml, nearest, read_source
from al_orchestrator.errors import ConfigError

__all__ = [
    "ExperimentConfig",
    "Validation",
    "config_schema",
    "differences",
    "dump_config",
    "identity_digest",
    "load_config",
    "marks_of",
    "nearest",
    "recorded_marks",
    "warnings_of",
]


def load_config(path: str | Path, overrides: Sequence[str | Override] = ()) -> ExperimentConfig:
    """The experiment a YAML file describes, with ``a.b=value`` overrides applied.

    A relative path inside the file starts at the file's folder, one in an override at the current
    folder.

    Raises:
        ConfigError: With every complaint, its line, and the allowed values.
    """
    source = read_source(Path(path), overrides)
    if "base" in source.data:
        kind, command = ("search", "tune") if "space" in source.data else ("sweep", "sweep")
        raise ConfigError(f"{path} is a {kind}, not an experiment: alo {command} {path}")
    source.refuse_left_open()
    source.data.setdefault("name", Path(path).stem)
    config = _validated(source)
    for location, relative in _relative_paths(config):
        _replace(source.data, location, str(_base(source, location) / relative))
    return _validated(source)


def dump_config(config: ExperimentConfig) -> str:
    """The complete configuration as YAML; `load_config` reads it back."""
    return dump_yaml(config.model_dump(mode="json"))


def config_schema() -> dict[str, Any]:
    """JSON Schema of an experiment, for editors."""
    schema = ExperimentConfig.model_json_schema()
    schema["required"] = [field for field in schema["required"] if field != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _validated(source: Source) -> ExperimentConfig:
    try:
        return ExperimentConfig.model_validate(source.data)
    except ValidationError as error:
        raise source.explain(error, ExperimentConfig) from None


def _relative_paths(
    value: BaseModel | Mapping[str, Any], at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Path]]:
    named = value if isinstance(value, Mapping) else dict(value)
    for name, field in named.items():
        if isinstance(field, Path) and not field.is_absolute():
            yield (*at, name), field.expanduser()
        elif isinstance(field, BaseModel | Mapping):
            yield from _relative_paths(field, (*at, name))


def _base(source: Source, location: tuple[str, ...]) -> Path:
    for override in reversed(source.overrides):  # the last one is what stands there
        if location[: len(override.path)] == override.path:
            return override.folder or Path.cwd()
    return source.folder


def _replace(data: dict[str, Any], location: Sequence[str], path: str) -> None:
    here: Any = data
    for part in location[:-1]:
        here = here[part]
    if isinstance(here, Mapping):
        here[location[-1]] = os.path.normpath(path)  # type: ignore[index]
