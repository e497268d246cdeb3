"""FER2013, as the Kaggle CSV, as a folder of images, or as Parquet.

Goodfellow et al. 2013, "Challenges in Representation Learning", ICONIP, arXiv:1307.0414. Splits are
named by the CSV's `Usage`, as the literature reports them: Training is train, PublicTest val,
PrivateTest test.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped, Split
from al_orchestrator.datasets.decoding import (
    OnBadImage,
    UnreadableImage,
    decode,
    refuse_or_skip,
    resized,
)
from al_orchestrator.datasets.ferplus import (
    FERPLUS_CLASSES,
    NoMajority,
    expression_votes,
    majority,
    read_votes,
)
from al_orchestrator.datasets.folders import (
    ImageFile,
    class_folders,
    file_state,
    find_splits,
    folder_state,
    walk,
)
from al_orchestrator.errors import DatasetError

FER_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Class map of FER2013, code -> name."""

_SIDE = 48
_USAGES: Mapping[str, Split] = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_SWAPPED: Mapping[Split, Split] = {"train": "train", "val": "test", "test": "val"}
_SPLITS: Mapping[str, Split] = {"train": "train", "val": "val", "test": "test"}
_FOLDERS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "publictest"),
    "test": ("test", "privatetest"),
}
_CSV_COLUMNS = ("emotion", "pixels", "Usage")
_PARQUET_COLUMNS = ("id", "split", "label", "label_name", "image")
_VOTES = ("ferplus_votes",)
_PARQUET_BATCH = 512

T = TypeVar("T")


class FER2013(DatasetReader):
    """35,887 grey faces of 48 x 48 pixels in seven expressions.

    `path` is `fer2013.csv`, a Parquet file with the columns id, split, label, label_name and image,
    or a folder train/ + test/ (or Training/ + PublicTest/ + PrivateTest/) of class folders. Where
    test/ holds files named PublicTest_… and there is no val/, those are the val split.

    Ids are `fer2013_<row of the CSV>` in the CSV and in the Parquet file, paths in the folder.
    """

    name: Literal["fer2013"] = "fer2013"
    path: Path
    """The CSV, the Parquet file, or the folder."""
    on_bad_image: OnBadImage = "refuse"
    """What to do about an image that cannot be decoded: stop, or leave it out and count it."""
    labels: Literal["fer2013", "ferplus", "ferplus_votes"] = "fer2013"
    """`ferplus` takes the majority of ten people's votes, in eight expressions; images without a
    majority, of unknown expression or not of a face are left out and counted. `ferplus_votes` has
    the same images and labels, but training aims at each expression's share of the votes."""
    votes: Path | None = None
    """`fer2013new.csv` of FER+, for labels of the CSV; a Parquet file has a column of them."""
    test: Literal["PrivateTest", "PublicTest"] = "PrivateTest"
    """Which of the two is the test split; the other one is val. The literature reports PrivateTest,
    usef-kh's VGG PublicTest."""
    image_size: int = Field(default=_SIDE, ge=8, le=_SIDE)
    """Side of the images in pixels; smaller ones cost less, and show less."""

    @property
    def classes(self) -> tuple[str, ...]:
        return FER_CLASSES if self.labels == "fer2013" else FERPLUS_CLASSES

    def source_state(self) -> Mapping[str, object]:
        state = self._source_state()
        if self.image_size != _SIDE:
            state = {**state, "image_size": self.image_size}
        if self.test != "PrivateTest":
            state = {**state, "test": self.test}
        if self.labels == "fer2013":
            return state
        votes = {} if self.votes is None else {"votes": file_state(self.votes)}
        return {**state, "labels": self.labels, **votes}

    def _source_state(self) -> Mapping[str, object]:
        kind = self._kind()
        if kind == "folder":
            state = folder_state(self.path, find_splits(self.path, _FOLDERS))
        else:
            state = file_state(self.path)
        return {"kind": kind, "on_bad_image": self.on_bad_image, **state}

    def records(self) -> Iterator[Record | Skipped]:
        if self.image_size == _SIDE and self.test == "PrivateTest":
            return self._read()
        return (self._as_asked(record) for record in self._read())

    def _as_asked(self, record: Record | Skipped) -> Record | Skipped:
        if isinstance(record, Skipped):
            return record
        image, split = record.image, record.split
        if self.image_size != _SIDE:
            image = resized(image, self.image_size)
        if self.test == "PublicTest":
            split = _SWAPPED[split]
        return replace(record, image=image, split=split)

    def _read(self) -> Iterator[Record | Skipped]:
        match self._kind():
            case "folder":
                return self._read_folder()
            case "csv":
                return self._read_csv()
            case "parquet":
                return self._read_parquet()

    def _kind(self) -> Literal["folder", "csv", "parquet"]:
        if self.path.is_dir():
            return "folder"
        file_state(self.path)
        match self.path.suffix.lower():
            case ".csv":
                return "csv"
            case ".parquet":
                return "parquet"
        raise DatasetError(
            f"{self.path} is neither a folder nor a .csv or .parquet file; unpack it if it is an "
            "archive"
        )

    def _read_csv(self) -> Iterator[Record | Skipped]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                # Some copies of the file have a space before a column's name.
                rows = csv.DictReader(file, skipinitialspace=True)
                _require(self.path, _CSV_COLUMNS, rows.fieldnames or ())
                votes = self._votes()
                for number, row in enumerate(rows):
                    record = self._csv_record(number, row)
                    yield record if votes is None else self._voted(record, votes, number)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetError(f"{self.path} is not a CSV file: {error}") from error

    def _csv_record(self, number: int, row: Mapping[str, str | None]) -> Record | Skipped:
        where = f"{self.path}, row {number}"
        try:
            image = _parse_pixels(row["pixels"] or "")
        except UnreadableImage as error:
            return refuse_or_skip(error, where, self.on_bad_image)
        return Record(
            id=f"fer2013_{number:05d}",
            split=_look_up(_USAGES, row["Usage"], f"{where}: Usage"),
            label=_look_up(_BY_CODE, row["emotion"], f"{where}: emotion"),
            image=image,
        )

    def _votes(self) -> list[list[int]] | None:
        """The votes of every row of the CSV, if they are the labels."""
        if self.labels == "fer2013":
            return None
        if self.votes is None:
            raise DatasetError(
                f"{self.path} has no FER+ votes; set dataset.votes to fer2013new.csv of FER+"
            )
        return read_votes(self.votes)

    def _voted(
        self, record: Record | Skipped, votes: Sequence[Sequence[int]], row: int
    ) -> Record | Skipped:
        """The same image with the label that people voted for."""
        if isinstance(record, Skipped):
            return record
        if row >= len(votes):
            raise DatasetError(f"{self.votes} has {len(votes)} rows, {self.path} more")
        try:
            label = majority(votes[row])
        except NoMajority as error:
            return Skipped(source=record.id, reason=str(error))
        aims = expression_votes(votes[row]) if self.labels == "ferplus_votes" else None
        return replace(record, label=label, votes=aims)

    def _read_parquet(self) -> Iterator[Record | Skipped]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                columns = [*_PARQUET_COLUMNS, *(() if self.labels == "fer2013" else _VOTES)]
                _require(self.path, columns, file.schema_arrow.names)
                for batch in file.iter_batches(_PARQUET_BATCH, columns=columns):
                    for row in batch.to_pylist():
                        record = self._parquet_record(row)
                        votes = row.get("ferplus_votes")
                        yield record if votes is None else self._voted(record, [votes], 0)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{self.path} is not a whole Parquet file: {error}") from error

    def _parquet_record(self, row: Mapping[str, object]) -> Record | Skipped:
        where = f"{self.path}, id {row['id']}"
        label = _look_up(_BY_CODE, str(row["label"]), f"{where}: label")
        if row["label_name"] != label:
            raise DatasetError(f"{where}: label {row['label']} is {label}, not {row['label_name']}")
        encoded = row["image"]
        try:
            image = _decode_face(encoded if isinstance(encoded, bytes) else b"")
        except UnreadableImage as error:
            return refuse_or_skip(error, where, self.on_bad_image)
        split = _look_up(_SPLITS, str(row["split"]), f"{where}: split")
        return Record(id=str(row["id"]), split=split, label=label, image=image)

    def _read_folder(self) -> Iterator[Record | Skipped]:
        if self.labels != "fer2013":
            raise DatasetError(
                f"{self.path} is a folder, whose files FER+ does not name; take fer2013.csv"
            )
        splits = find_splits(self.path, _FOLDERS)
        for folder in splits.values():
            for found in class_folders(folder):
                _look_up(_BY_NAME, found.name.casefold(), f"{found}: class folder")
        for file in walk(self.path, splits):
            try:
                image = _decode_face(file.path)
            except UnreadableImage as error:
                yield refuse_or_skip(error, str(file.path), self.on_bad_image)
                continue
            split = file.split if "val" in splits else _split_by_name(file)
            label = _BY_NAME[file.folder.casefold()]
            yield Record(id=file.id, split=split, label=label, image=image)


_BY_CODE = {str(code): name for code, name in enumerate(FER_CLASSES)}
_BY_NAME = {name: name for name in FER_CLASSES}


def _split_by_name(file: ImageFile) -> Split:
    is_public = file.split == "test" and file.path.name.startswith("PublicTest_")
    return "val" if is_public else file.split


def _look_up(known: Mapping[str, T], value: str | None, where: str) -> T:
    if value is None or value not in known:
        raise DatasetError(f"{where} {value!r} is none of {', '.join(known)}")
    return known[value]


def _require(path: Path, needed: Sequence[str], given: Sequence[str]) -> None:
    missing = [name for name in needed if name not in given]
    if missing:
        raise DatasetError(f"{path} has no column {', '.join(missing)}; it has {list(given)}")


def _decode_face(encoded: bytes | Path) -> npt.NDArray[np.uint8]:
    image = decode(encoded, channels=1)
    if image.shape != (_SIDE, _SIDE, 1):
        raise UnreadableImage("not 48 x 48 pixels")
    return image


def _parse_pixels(text: str) -> npt.NDArray[np.uint8]:
    try:
        levels = bytes(map(int, text.split()))
    except ValueError as error:
        raise UnreadableImage("pixels that are no integers in 0..255") from error
    if len(levels) != _SIDE * _SIDE:
        raise UnreadableImage("not 48 x 48 pixels")
    return np.frombuffer(levels, dtype=np.uint8).reshape(_SIDE, _SIDE, 1)
