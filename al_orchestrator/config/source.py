"""YAML as people mean it, and errors that name the file, the line and the field.

PyYAML follows YAML 1.1, where ``no`` is False, ``12:30`` is 750, ``010`` is 8, ``1e-3`` is a
string, and the second of two equal keys wins silently. Here ``true`` and ``false`` are the
booleans, numbers are what Python writes, everything else is a string, and a repeated key is an
error.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from al_orchestrator.errors import ConfigError

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars; refuses repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = self.construct_object(key), key.start_mark.line + 1
            if name in first:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"duplicate key {name!r} (first on line {first[name]})",
                    key.start_mark,
                )
            first[name] = line
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes every string that a YAML 1.1 reader or `_Loader` would take for something else."""


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(value))


_Dumper.add_representer(float, _represent_float)


_RESOLVERS = (
    ("tag:yaml.org,2002:bool", r"true|false", "tf"),
    ("tag:yaml.org,2002:null", r"null|~|", "n~"),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?",
        "-+0123456789.",
    ),
)
for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [*_first])
    _Dumper.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [*_first])
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])


@dataclass(frozen=True)
class Override:
    """One field set on top of a file, as by ``--set a.b=value``."""

    path: tuple[str, ...]
    value: object
    text: str  # what errors call it
    folder: Path | None = None  # relative paths in it start here; None is the current folder

    @classmethod
    def parse(cls, text: str) -> Override:
        """Reads ``a.b=value``; the value is YAML.

        Raises:
            ConfigError: There is no ``=``, or the value is no YAML.
        """
        path, equals, value = text.partition("=")
        if not equals or not all(path.split(".")):
            raise ConfigError(f"--set {text}: write it as a.b=value")
        return cls(tuple(path.split(".")), load_yaml(value, f"--set {path}"), f"--set {text}")


@dataclass(frozen=True)
class Source:
    """A YAML document with its overrides applied, and where each part of it stands."""

    origin: str  # what errors call it
    folder: Path  # relative paths in the file start here
    data: dict[str, Any]
    root: yaml.Node | None
    overrides: tuple[Override, ...] = ()

    def explain(
        self, error: ValidationError, model: type[BaseModel], what: str = "an experiment"
    ) -> ConfigError:
        """All of pydantic's complaints, each with its place and the names it may have meant."""
        lines = [self._line(complaint, model) for complaint in error.errors(include_url=False)]
        return ConfigError(
            "\n".join([f"{self.origin} does not describe {what}:", *dict.fromkeys(lines)])
        )

    def refuse_left_open(self) -> None:
        """Raises `ConfigError` if values are left to the user, naming all of them."""
        fields = [(self._place(at), ".".join(map(str, at))) for at in left_open(self.data)]
        if fields:
            sets = " ".join(f"--set {field}=…" for _, field in fields)
            raise ConfigError(
                "\n".join(
                    [
                        f"{self.origin} leaves values to you that nobody published; {sets}",
                        *(f"  {place}{field}" for place, field in fields),
                    ]
                )
            )

    def _line(self, complaint: Mapping[str, Any], model: type[BaseModel]) -> str:
        location = self._real_location(complaint["loc"])
        dotted = ".".join(str(part) for part in location)
        if complaint["type"] == "extra_forbidden":
            names = _field_names(model, complaint["loc"][:-1])
            words = f"there is no such key; {', '.join(names)}" + nearest(location[-1], names)
        else:
            words = _words(complaint)
        return f"  {self._place(location)}{dotted + ': ' if dotted else ''}{words}"

    def _real_location(self, location: Location) -> Location:
        """`location` without the tags that pydantic puts in for the members of a union."""
        real: list[str | int] = []
        here: object = self.data
        rest = list(location)
        while rest:
            part = rest.pop(0)
            if isinstance(here, Mapping) and here.get("name") == part and part not in here:
                continue
            real.append(part)
            here = _step(here, part)
        return tuple(real)

    def _place(self, location: Location) -> str:
        for override in self.overrides:
            if location[: len(override.path)] == override.path:
                return f"{override.text}: "
        node, mark = self.root, self.root.start_mark if self.root is not None else None
        for part in location:
            node, found = _child(node, part)
            mark = found if found is not None else mark
            if node is None:
                break
        return f"line {mark.line + 1}: " if mark is not None else ""


LEFT_OPEN = "???"
"""Stands in a preset for a value that its source does not tell and its user has to give."""


def left_open(value: object, at: Location = ()) -> Iterator[Location]:
    """Where in a document `LEFT_OPEN` stands."""
    if value == LEFT_OPEN:
        yield at
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from left_open(below, (*at, str(key)))


def read_source(path: Path, overrides: Sequence[str | Override] = ()) -> Source:
    """Reads a YAML file and applies ``--set`` values on top.

    Raises:
        ConfigError: The file is missing, no YAML, or no mapping; or an override is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path} cannot be read: {reason}") from error
    root, data = _parsed(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds no experiment: a mapping is expected at the top")
    parsed = tuple(Override.parse(o) if isinstance(o, str) else o for o in overrides)
    for override in parsed:
        _apply(data, override)
    return Source(str(path), path.resolve().parent, data, root, parsed)


def load_yaml(text: str, origin: str) -> Any:
    """The value `text` stands for.

    Raises:
        ConfigError: It is no YAML, or a key stands twice; with the line.
    """
    return _parsed(text, origin)[1]


def _parsed(text: str, origin: str) -> tuple[yaml.Node | None, Any]:
    """The document, which knows its lines, and the value it stands for."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark is not None else ""
        raise ConfigError(f"{origin}: {place}{error.problem or error.context}") from error
    except (yaml.YAMLError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{origin}: {error}") from error


def dump_yaml(value: object) -> str:
    """YAML that `load_yaml` reads back as `value`."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100)


def nearest(word: object, names: Iterable[str]) -> str:
    """``; did you mean 'badge'?`` or nothing."""
    close = difflib.get_close_matches(str(word), list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _apply(data: dict[str, Any], override: Override) -> None:
    here = data
    for part in override.path[:-1]:
        below = here.get(part)
        if below is None:
            below = here[part] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"{override.text}: {part} is {below!r}, not a mapping")
        here = below
    here[override.path[-1]] = copy.deepcopy(override.value)  # later overrides may change it


def _step(here: object, part: str | int) -> object:
    if isinstance(here, Mapping):
        return here.get(part)
    if isinstance(here, list) and isinstance(part, int) and part < len(here):
        return here[part]
    return None


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, yaml.Mark | None]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key.start_mark
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark
    return None, None


def _words(complaint: Mapping[str, Any]) -> str:
    kind, context, given = complaint["type"], complaint.get("ctx", {}), complaint.get("input")
    if kind == "union_tag_invalid":
        names = re.findall(r"'([^']+)'", context["expected_tags"])
        return f"there is no {context['tag']!r}; it may be {', '.join(names)}" + nearest(
            context["tag"], names
        )
    if kind == "union_tag_not_found":
        return "give it a name, as in {name: …}"
    if kind == "value_error":
        return str(context["error"])
    message = str(complaint["msg"])
    if kind == "missing" or isinstance(given, Mapping):
        return message
    return f"{message} (it is {given!r})"


def _field_names(model: type[BaseModel], location: Location) -> list[str]:
    """Keys allowed at `location`, where a union is followed by the tag of its member."""
    models = [model]
    for part in (part for part in location if isinstance(part, str)):  # numbers are of lists
        tagged = [m for m in models if _tag_of(m) == part]
        models = tagged or [
            member
            for m in models
            if part in m.model_fields
            for member in _members(m.model_fields[part].annotation)
        ]
    return sorted({name for m in models for name in m.model_fields})


def _tag_of(model: type[BaseModel]) -> object:
    field = model.model_fields.get("name")
    return field.default if field is not None else None


def _members(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _members(argument)
