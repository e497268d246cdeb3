"""Encoders out of files: fitted by name, with every name that does not fit accounted for."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from trainers.base import TrainingError
from trainers.deep import checkpoints
from trainers.encoders import DEFAULT_WIDTHS, Encoder

PREFIXES = (
    "online_network.encoder.",
    "encoder.module.",
    "module.encoder.",
    "encoder.",
    "backbone.",
    "module.",
    "",
)
"""What names begin with in known files; `module.` comes of several GPUs."""

HEADS = ("linear", "fc", "head", "projection", "projection_head", "projector", "classifier", "lin3")
"""First parts of names that belong to a classification or projection head."""

OTHER_PARTS = (
    "online_network.projection.",
    "target_network.",
    "facemae.",
    "predictor.",
    "distil_GFL.",
    "distil_FFL.",
)
"""What else stands in checkpoints of SimFLE, and is no encoder."""

STAGES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""How SimFLE numbers the parts of a residual network; 2 and 3 have no weights."""

CONTAINERS = ("weights", "model", "state_dict", "params")
"""Under which keys files keep their state dict: ours, ActiveFER's, lightly's and solo-learn's, the
FER2013 VGG's."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportReport:
    """What became of each name: of the encoder's own, and of the file's as they stand there."""

    path: Path
    prefix: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]  # the encoder's own, not in the file
    unexpected: tuple[str, ...]  # the file's, not in the encoder
    mismatched: tuple[str, ...]  # the encoder's own, in the file with another shape
    ignored: tuple[str, ...]  # the file's, not in the encoder, and of a head or allowed

    def __str__(self) -> str:
        parts = [f"{self.path}: {len(self.matched)} tensors matched under prefix {self.prefix!r}"]
        for kind in ("missing", "unexpected", "mismatched", "ignored"):
            names: tuple[str, ...] = getattr(self, kind)
            if names:
                parts.append(f"{len(names)} {kind} ({_some(names)})")
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class ImportedEncoder:
    """The tensors of a file under the encoder's own names."""

    path: Path
    prefix: str
    tensors: Mapping[str, Tensor]  # names with the prefix taken off
    foreign: tuple[str, ...]  # names in the file that do not begin with the prefix
    report: ImportReport | None = None  # once fitted

    @property
    def in_channels(self) -> int | None:
        """Channels of the images it was trained on, or None where the file has no stem."""
        stem = self.tensors.get("conv1.weight", self.tensors.get("conv1a.weight"))
        return None if stem is None or stem.ndim != 4 else int(stem.shape[1])

    def fitted_to(
        self, expected: Mapping[str, tuple[int, ...]], encoder: Encoder
    ) -> ImportedEncoder:
        """Only what the encoder takes over, with a report of the rest.

        Raises:
            TrainingError: Something is left over on either side and not on an allow-list.
        """
        report = self._compare(expected, encoder)
        _refuse_leftovers(report, encoder)
        logger.info("%s", report)
        tensors = {name: self.tensors[name] for name in report.matched}
        return ImportedEncoder(self.path, self.prefix, tensors, self.foreign, report)

    def _compare(self, expected: Mapping[str, tuple[int, ...]], encoder: Encoder) -> ImportReport:
        shared = expected.keys() & self.tensors.keys()
        matched = {name for name in shared if tuple(self.tensors[name].shape) == expected[name]}
        extra = {self.prefix + name for name in self.tensors.keys() - shared} | set(self.foreign)
        ignored = {
            name
            for name in extra
            if _is_head(name, self.prefix) or _is_among(name, encoder.allow_unexpected)
        }
        return ImportReport(
            path=self.path,
            prefix=self.prefix,
            matched=tuple(sorted(matched)),
            missing=tuple(sorted(expected.keys() - shared)),
            unexpected=tuple(sorted(extra - ignored)),
            mismatched=tuple(sorted(shared - matched)),
            ignored=tuple(sorted(ignored)),
        )


def adopt_encoder(encoder: Encoder, to: Path) -> dict[str, tuple[str, ...]]:
    """See `Encoder.adopt`."""
    from trainers.deep.networks import Plan, shapes_of  # which imports this module

    if encoder.weights is None:
        raise TrainingError("there is no file to import; set encoder.weights")
    width = encoder.width or DEFAULT_WIDTHS.get(encoder.name, 0)
    shapes = shapes_of(Plan(encoder.name, width, 3, 2, 0.0))
    found = read_encoder_file(encoder.weights, encoder, shapes.keys())
    plan = Plan(encoder.name, width, found.in_channels or 3, 2, 0.0)
    fitted = found.fitted_to(shapes_of(plan), encoder)
    report = fitted.report
    assert report is not None  # it was just fitted
    digest = checkpoints.digest_of_weights(fitted.tensors)
    meta = {"plan": asdict(plan), "digest": digest, "imported_from": str(encoder.weights)}
    named = {f"encoder.{name}": tensor for name, tensor in fitted.tensors.items()}
    checkpoints.save(to, {"weights": named, "meta": meta})
    kinds = ("matched", "missing", "unexpected", "mismatched", "ignored")
    return {kind: getattr(report, kind) for kind in kinds}


def read_encoder_file(path: Path, encoder: Encoder, expected: Collection[str]) -> ImportedEncoder:
    """The tensors of an encoder file, under the prefix with which most expected names are there.

    Raises:
        TrainingError: The file cannot be read, or none of its names is the encoder's.
    """
    names = set(expected)
    state = {_our_name(name, names): tensor for name, tensor in _state_dict_of(path).items()}

    def found(prefix: str) -> int:
        return sum(name.startswith(prefix) and name[len(prefix) :] in names for name in state)

    # max keeps the first of equals.
    prefixes = PREFIXES if encoder.prefix is None else (encoder.prefix,)
    prefix = max(prefixes, key=found)
    if found(prefix) == 0:
        raise TrainingError(
            f"{path} has none of the {len(names)} weights of {encoder.name}: its names are "
            f"{_some(sorted(state))}; name another encoder, or set encoder.prefix to what stands "
            f"before {sorted(names)[0]!r}"
        )
    ours = {name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)}
    foreign = tuple(name for name in state if not name.startswith(prefix))
    return ImportedEncoder(path, prefix, ours, foreign)


def _our_name(name: str, expected: Collection[str]) -> str:
    """The name as our networks have it, where a known code base has another for the same part."""
    numbered = "online_network.encoder."
    if name.startswith(numbered):
        number, _, rest = name[len(numbered) :].partition(".")
        name = f"{numbered}{STAGES.get(number, number)}.{rest}"
    parts = name.split(".")
    if "downsample" in parts and any("shortcut" in each.split(".") for each in expected):
        name = ".".join("shortcut" if part == "downsample" else part for part in parts)
    return name


def _state_dict_of(path: Path) -> dict[str, Tensor]:
    content: object = checkpoints.load(path)
    for key in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not any(isinstance(v, Tensor) for v in content.values()):
        raise TrainingError(
            f"{path} has no state dict, neither at the top nor under {', '.join(CONTAINERS)}; "
            "save the model's state_dict()"
        )
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _refuse_leftovers(report: ImportReport, encoder: Encoder) -> None:
    drawn = [
        name
        for name in (*report.missing, *report.mismatched)
        if not _is_among(name, encoder.allow_missing)
    ]
    if not drawn and not report.unexpected:
        return
    ways = []
    if drawn:
        ways.append(f"encoder.allow_missing: [{_some(drawn)}] to draw these anew")
    if report.unexpected:
        ways.append(f"encoder.allow_unexpected: [{_some(report.unexpected)}] to leave these aside")
    raise TrainingError(
        f"{report}; a partly loaded {encoder.name} is refused. Name the encoder the file was made "
        f"with, or set {' and '.join(ways)}"
    )


def _is_head(name: str, prefix: str) -> bool:
    """Whether the first part after this or a known prefix names a head, or what is no encoder."""
    return name.startswith(OTHER_PARTS) or any(
        name.startswith(start) and name[len(start) :].split(".")[0] in HEADS
        for start in (prefix, *PREFIXES)
    )


def _is_among(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _some(names: Collection[str], limit: int = 6) -> str:
    shown = list(names)[:limit]
    more = f", … {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown) + more
