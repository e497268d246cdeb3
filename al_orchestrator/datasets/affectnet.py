"""AffectNet: faces from the web in eight expressions, one annotator each.

Mollahosseini, Hasani & Mahoor 2019, "AffectNet: A Database for Facial Expression, Valence, and
Arousal Computing in the Wild", IEEE Transactions on Affective Computing 10(1), arXiv:1708.03985.
Read as it is distributed, in either of its two layouts::

    Manually_Annotated_file_lists/training.csv, validation.csv      whole pictures with face boxes
    Manually_Annotated_Images/<number>/<file>

    train_set/images/<number>.jpg, annotations/<number>_exp.npy     crops of the faces
    val_set/images/…, annotations/…
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from al_orchestrator.datasets.base import Record, Skipped, Split
from al_orchestrator.datasets.decoding import Box
from al_orchestrator.datasets.folders import file_state, tree_state
from al_orchestrator.datasets.photos import Photos
from al_orchestrator.datasets.splitting import is_held_out
from al_orchestrator.errors import DatasetError

AFFECTNET_CLASSES = (
    "neutral",
    "happy",
    "sad",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""Class map of AffectNet, code -> name; the seven classes are all but the last."""

_NO_EXPRESSION = ("none", "uncertain", "no face")  # codes 8, 9, 10
_COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
_LISTS: Mapping[Literal["train", "test"], str] = {"train": "training.csv", "test": "validation.csv"}
_SETS: Mapping[Literal["train", "test"], str] = {"train": "train_set", "test": "val_set"}
_LIST_FOLDERS = ("Manually_Annotated_file_lists", ".")
_IMAGE_FOLDERS = (
    "Manually_Annotated_Images",
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated",
)
_SUFFIX = "_exp.npy"


@dataclass(frozen=True)
class _Face:
    id: str
    file: Path
    code: int
    source: Literal["train", "test"]
    box: Box | None  # None: the file is a crop of the face


class AffectNet(Photos):
    """`path` holds the official lists and pictures, or `train_set/` and `val_set/`.

    The official validation set is the test split, since the labels of the official test set are not
    public; a share of the training images, drawn by name, is the val split. What is annotated as
    none, uncertain or no face is left out and counted, and so is contempt where there are seven
    classes. Whole pictures are cropped to the face box of the list.
    """

    name: Literal["affectnet"] = "affectnet"
    num_classes: Literal[7, 8] = 8
    """8, or 7 without contempt."""
    margin: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the face box's sides that is added on each side, as far as the picture goes; by
    default nothing. For whole pictures only."""
    val_share: float = Field(default=0.02, ge=0, lt=1)
    """Share of the training images that is the val split."""
    val_seed: int = Field(default=0, ge=0)
    """Draws it."""

    @property
    def classes(self) -> tuple[str, ...]:
        return AFFECTNET_CLASSES[: self.num_classes]

    def source_state(self) -> Mapping[str, object]:
        state = {**self.settings(), "path": str(self.path.resolve())}
        if self._has_sets():
            trees = [tree_state(self.path / name) for name in _SETS.values()]
            return {**state, "sets": trees}
        lists = [file_state(self._list(name)) for name in _LISTS.values()]
        return {**state, "lists": lists, "images": tree_state(self._images())}

    def records(self) -> Iterator[Record | Skipped]:
        for face in self._from_sets() if self._has_sets() else self._from_lists():
            if face.code >= self.num_classes:
                label = (*AFFECTNET_CLASSES, *_NO_EXPRESSION)[face.code]
                yield Skipped(source=str(face.file), reason=f"annotated as {label}")
                continue
            label = AFFECTNET_CLASSES[face.code]
            yield self.read(
                face.file, id=face.id, split=self._split(face), label=label, box=face.box
            )

    def _split(self, face: _Face) -> Split:
        if face.source == "test":
            return "test"
        return "val" if is_held_out(face.id, self.val_share, self.val_seed) else "train"

    def _has_sets(self) -> bool:
        missing = [name for name in _SETS.values() if not (self.path / name).is_dir()]
        if len(missing) == 1:
            raise DatasetError(
                f"{self.path} has no {missing[0]}/; AffectNet has both train_set/ and val_set/"
            )
        return not missing

    # Lists of whole pictures.

    def _list(self, name: str) -> Path:
        for folder in _LIST_FOLDERS:
            if (found := self.path / folder / name).is_file():
                return found
        raise DatasetError(
            f"{self.path} holds no AffectNet: neither {_LIST_FOLDERS[0]}/{name}, nor {name}, nor "
            "train_set/ and val_set/; unpack its archives there, or set `path`"
        )

    def _images(self) -> Path:
        for folder in _IMAGE_FOLDERS:
            if (found := self.path / folder).is_dir():
                return found
        raise DatasetError(
            f"{self.path} holds the lists of AffectNet and no pictures; unpack them into "
            f"{self.path / _IMAGE_FOLDERS[0]}"
        )

    def _from_lists(self) -> Iterator[_Face]:
        lists = {source: self._list(name) for source, name in _LISTS.items()}
        images = self._images()
        for source, path in lists.items():
            for where, row in _rows(path):
                name = row["subDirectory_filePath"].strip()
                code = _code(row["expression"], where)
                box = _box(row, where, self.margin or 0.0) if code < self.num_classes else None
                yield _Face(name, images / name, code, source, box)

    # Sets of faces that are cropped already.

    def _from_sets(self) -> Iterator[_Face]:
        if self.margin is not None:
            raise DatasetError(
                f"{self.path} holds faces that are cropped already, without the pictures round "
                "them; leave `margin` out"
            )
        for source, name in _SETS.items():
            annotations = self.path / name / "annotations"
            if not annotations.is_dir():
                raise DatasetError(f"{annotations} is not a folder; AffectNet's labels lie there")
            files = [file for file in annotations.iterdir() if file.name.endswith(_SUFFIX)]
            if not files:
                raise DatasetError(f"{annotations} holds no label, as in 0{_SUFFIX}")
            for file in sorted(files):
                number = file.name.removesuffix(_SUFFIX)
                image = self.path / name / "images" / f"{number}.jpg"
                yield _Face(f"{name}/{number}", image, _annotated(file), source, None)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Rows of a list, each with where it stands; some copies of validation.csv have no header.

    Raises:
        DatasetError: The file cannot be read, or a row has another number of fields.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, fields in enumerate(csv.reader(file), start=1):
                if not fields or (number == 1 and fields[0] == _COLUMNS[0]):
                    continue
                where = f"{path}, line {number}"
                if len(fields) != len(_COLUMNS):
                    raise DatasetError(
                        f"{where} has {len(fields)} fields; a list of AffectNet has "
                        f"{len(_COLUMNS)}: {', '.join(_COLUMNS)}"
                    )
                yield where, dict(zip(_COLUMNS, fields, strict=True))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a list of AffectNet: {error}") from error


def _code(text: str, where: str) -> int:
    known = len(AFFECTNET_CLASSES) + len(_NO_EXPRESSION)
    if not text.strip().isdecimal() or int(text) >= known:
        raise DatasetError(f"{where}: expression {text!r} is no number from 0 to {known - 1}")
    return int(text)


def _box(row: Mapping[str, str], where: str, margin: float) -> Box:
    """The face box with its margin, perhaps beyond the picture."""
    names = ("face_x", "face_y", "face_width", "face_height")
    try:
        x, y, width, height = (float(row[name]) for name in names)
    except ValueError as error:
        raise DatasetError(f"{where}: {', '.join(names)} are not four numbers") from error
    if not (np.isfinite([x, y]).all() and 0 < width < np.inf and 0 < height < np.inf):
        return 0, 0, 0, 0  # nothing of a picture lies in it, which `on_bad_image` is about
    across, down = margin * width, margin * height
    edges = (x - across, y - down, x + width + across, y + height + down)
    left, top, right, bottom = (round(edge) for edge in edges)
    return left, top, right, bottom


def _annotated(file: Path) -> int:
    try:
        value = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file} cannot be read as an array: {error}") from error
    if value.size != 1:
        raise DatasetError(f"{file} holds {value.size} values; an expression is one")
    return _code(str(value.item()), str(file))
