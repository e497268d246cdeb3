"""Encoders out of files: fitted by name, with every name that does not fit accounted for."""

from __future__ import annotations

import logging
import re
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

HEADS = (
    "linear",
    "fc",
    "head",
    "projection",
    "projection_head",
    "projector",
    "classifier",
    "lin3",
    "attention",
    "attention_heads",
)
"""First parts of names that belong to a classification or projection head, or DACL's attention."""

OTHER_PARTS = (
    "online_network.projection.",
    "target_network.",
    "facemae.",
    "predictor.",
    "distil_GFL.",
    "distil_FFL.",
)
"""What else stands in checkpoints of SimFLE, and is no encoder."""

UNUSED = (
    "*output_layer.*",
    "body.2[123].*",
    "attn[123].relative_position_index",
    "VIT.head.*",
    "VIT.patch_embed.*",
    "VIT.eca_block.*",
    "VIT.CON1.*",
    "VIT.IRLinear[12].*",
    "VIT.blocks.*.conv.*",
    "pyramid_fuse.cls_token",
)
"""Names in files of POSTER, POSTER V2 and their backbones on which no output depends."""

IR50_STAGES = ((3, "body1"), (7, "body2"), (21, "body3"))
"""Where the stages of an IR-50 end whose blocks are numbered throughout."""

STEMS = (
    "ir_back.input_layer.0.weight",
    "face_landback.conv1.conv.weight",
    "input_layer.0.weight",
    "conv1.conv.weight",
    "conv1.weight",
    "conv1a.weight",
)
"""First layers of POSTER, of its backbones by themselves, of residual networks and of the VGG."""

STAGES = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
"""How parts of a residual network are numbered in a sequence; 2 and 3 have no weights."""

NUMBERED = ("online_network.encoder.", "backbone.")
"""Where they are: in SimFLE's files, and in lightly's, whose backbones are sequences as a rule."""

CONTAINERS = ("weights", "model", "state_dict", "params", "model_state_dict")
"""Under which keys files keep their state dict: ours, ActiveFER's, lightly's and solo-learn's, the
FER2013 VGG's, DACL's."""

KINDS = ("matched", "missing", "unexpected", "mismatched", "ignored")

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
        stem = self.tensors.get("ir_back.input_layer.0.weight", stem)
        return None if stem is None or stem.ndim != 4 else int(stem.shape[1])

    def fitted_to(
        self, expected: Mapping[str, tuple[int, ...]], encoder: Encoder
    ) -> ImportedEncoder:
        """Only what the encoder takes over, with a report of the rest.

        Raises:
            TrainingError: Something is left over on either side and not on an allow-list.
        """
        report = self._compare(expected, encoder)
        _refuse_unusable({name: self.tensors[name] for name in report.matched}, self.path)
        _refuse_leftovers(report, encoder)
        logger.info("%s", report)
        tensors = {name: self.tensors[name] for name in report.matched}
        if encoder.channel_order == "bgr" and not is_ours(self.path):
            tensors |= _turned_to_rgb(tensors, self.path)
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
    if to.exists():
        raise TrainingError(
            f"{to} exists, and is not written over; name another file, or remove it"
        )
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
    try:
        checkpoints.save(to, {"weights": named, "meta": meta})
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"{to} cannot be written: {str(error).splitlines()[0]}") from error
    return {kind: getattr(report, kind) for kind in KINDS}


def read_encoder_file(path: Path, encoder: Encoder, expected: Collection[str]) -> ImportedEncoder:
    """The tensors of an encoder file, under the prefix with which most expected names are there.

    Raises:
        TrainingError: The file cannot be read, or none of its names is the encoder's.
    """
    names = set(expected)
    state = {_our_name(name, names): tensor for name, tensor in state_dict_of(path).items()}

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
    for start in NUMBERED:
        if name.startswith(start):
            number, _, rest = name[len(start) :].partition(".")
            name = f"{start}{STAGES.get(number, number)}.{rest}"
    name = re.sub(r"(VIT\.blocks\.\d+)\.(?:attn|mlp)\.", r"\1.", name)
    numbered_block = re.fullmatch(r"(.*?)\bbody\.(\d+)\.(.+)", name)
    if numbered_block and any("body1." in each for each in expected):
        before, block, rest = numbered_block.groups()
        name = before + _ir50_block(int(block), rest)
    parts = name.split(".")
    if "downsample" in parts and any("shortcut" in each.split(".") for each in expected):
        name = ".".join("shortcut" if part == "downsample" else part for part in parts)
    return name


def _ir50_block(number: int, rest: str) -> str:
    start = 0
    for end, stage in IR50_STAGES:
        if number < end:
            return f"{stage}.{number - start}.{rest}"
        start = end
    return f"body.{number}.{rest}"  # of the fourth stage, which POSTER leaves out


def read_parts(encoder: Encoder, shapes: Mapping[str, tuple[int, ...]]) -> ImportedEncoder:
    """Tensors of the files of `encoder.parts`, under the names of the whole network.

    Raises:
        TrainingError: A file cannot be read or fits its part only partly.
    """
    tensors: dict[str, Tensor] = {}
    reports = []
    for part, path in sorted(encoder.parts.items()):
        start = f"{part}."
        own = {name[len(start) :]: size for name, size in shapes.items() if name.startswith(start)}
        fitted = read_encoder_file(path, encoder, own.keys()).fitted_to(own, encoder)
        assert fitted.report is not None  # it was just fitted
        reports.append(fitted.report)
        tensors |= {start + name: tensor for name, tensor in fitted.tensors.items()}
    together = {
        kind: tuple(name for report in reports for name in getattr(report, kind)) for kind in KINDS
    }
    path = Path(" + ".join(str(report.path) for report in reports))
    report = ImportReport(path=path, prefix="", **together)
    return ImportedEncoder(path, "", tensors, (), report)


def state_dict_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, wherever in it they are, under the file's own names.

    Raises:
        TrainingError: It cannot be read, or holds no state dict.
    """
    content: object = checkpoints.load(path)
    for key in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if isinstance(content, dict) and "param_groups" in content:
        raise TrainingError(
            f"{path} holds the state of an optimiser and no weights of a network, as `model_best` "
            "files of POSTER V2's scripts do; take the full checkpoint (`model.pth`)"
        )
    if not isinstance(content, dict) or not any(isinstance(v, Tensor) for v in content.values()):
        raise TrainingError(
            f"{path} has no state dict, neither at the top nor under {', '.join(CONTAINERS)}; "
            "save the model's state_dict()"
        )
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _refuse_unusable(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            continue
        if not tensor.is_floating_point():
            raise TrainingError(
                f"{path}: {name} is of {tensor.dtype}, and weights are floating-point numbers; "
                "save the model's own state_dict()"
            )
        if not tensor.isfinite().all():
            raise TrainingError(
                f"{path}: {name} holds values that are not finite, so its training had failed; "
                "take an earlier checkpoint"
            )


def is_ours(path: Path) -> bool:
    """Whether we wrote a file; then its network has seen RGB, whatever it was imported from."""
    meta = checkpoints.load(path).get("meta")
    return isinstance(meta, dict) and "plan" in meta


def _turned_to_rgb(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """First layers of a network that saw BGR, for images that are RGB."""
    stems = {name: tensors[name] for name in STEMS if name in tensors}
    coloured = {name: stem.flip(1) for name, stem in stems.items() if stem.shape[1] == 3}
    if not coloured:
        raise TrainingError(
            f"{path} has no first layer of three colours to turn round from BGR; leave "
            "channel_order out"
        )
    return coloured


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
    """Whether what follows this or a known prefix names a head, or what is no encoder."""
    return name.startswith(OTHER_PARTS) or any(
        name.startswith(start)
        and (name[len(start) :].split(".")[0] in HEADS or _is_among(name[len(start) :], UNUSED))
        for start in (prefix, *PREFIXES)
    )


def _is_among(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _some(names: Collection[str], limit: int = 6) -> str:
    shown = list(names)[:limit]
    more = f", … {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown) + more
