"""The contract of a dataset: a source read once into a manifest and a packed image file.

A reader is a frozen pydantic model (its fields are its YAML). It yields `Record`s;
`datasets.pack` turns them into a folder in the workspace that never changes again::

    datasets/<fingerprint>/
        manifest.parquet    one row a sample, ascending by id
        images.npy          (rows, H, W, Ch) uint8, row r belongs to the manifest's row r
        dataset.json        classes, fingerprint, normalisation, what was skipped and why

Ids come from the source's own names, never from positions in a listing, so adding a file renames
nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Split = Literal["train", "val", "test"]
Policy = Literal["keep", "drop", "refuse"]


class Duplicates(BaseModel):
    """What to do about images with the very same pixels."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    across_splits: Policy = "drop"
    """Training images that stand in val or test too; `drop` takes them out of the pool."""
    within_pool: Policy = "keep"
    """Training images that repeat an earlier one (by id); `drop` keeps the first."""
    conflicting: Policy = "keep"
    """Training images that repeat under another label; `drop` takes all of them out of the pool."""


@dataclass(frozen=True, eq=False)
class Record:
    """One sample as the source gives it."""

    id: str  # unique in the dataset, stable
    split: Split
    label: str | None  # class name; None where the source knows no label
    image: npt.NDArray[np.uint8]  # (H, W, Ch), Ch 1 or 3
    votes: tuple[int, ...] | None = (
        None  # (C,) people for each class; all samples have them, or none
    )


@dataclass(frozen=True)
class Skipped:
    """A sample that cannot be used; yielded only where the config asks to skip."""

    source: str  # the file, or file and row
    reason: str


@dataclass(frozen=True, eq=False)
class Manifest:
    """The ids of a dataset with split, label and content hash; immutable, ascending by id.

    `fingerprint` is a digest of ids, splits, labels, votes, classes and pixels: equal fingerprints
    mean equal data.
    """

    ids: npt.NDArray[np.str_]  # (R,) ascending, unique; row r of the packed file
    splits: npt.NDArray[np.str_]  # (R,) "train", "val", "test"
    labels: npt.NDArray[np.int64]  # (R,) in [0, C), or -1 where unknown
    image_hashes: npt.NDArray[np.str_]  # (R,) of the pixels
    classes: tuple[str, ...]  # frozen class map: code -> name
    image_shape: tuple[int, int, int]  # (H, W, Ch)
    mean: tuple[float, ...]  # per channel over the train split, of values scaled to [0, 1]
    std: tuple[float, ...]
    fingerprint: str
    skipped: Mapping[str, int] = field(default_factory=dict)  # reason -> count
    votes: npt.NDArray[np.int64] | None = None  # (R, C) targets of training, where there are any

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
        """Rows of these ids, in their order.

        Raises:
            KeyError: An id is not in the manifest.
        """
        rows = np.searchsorted(self.ids, ids)
        inside = np.minimum(rows, len(self.ids) - 1)
        missing = np.asarray(ids)[self.ids[inside] != ids]
        if len(missing):
            raise KeyError(f"{len(missing)} ids are not in the dataset, first {missing[0]!r}")
        return inside.astype(np.int64)


@dataclass(frozen=True)
class PackedDataset:
    """A dataset in the workspace, ready to be mapped by a worker."""

    manifest: Manifest
    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images.npy"


class DatasetReader(BaseModel, ABC):
    """Reads one kind of source.

    To add one: a module here, a line in the union of ``datasets/__init__.py``, a test.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    name: str
    duplicates: Duplicates = Duplicates()
    """What to do about repeated images."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The class map, code -> name; explicit and the same in every split.

        Raises:
            DatasetError: The source is missing or holds classes it should not.
        """

    @abstractmethod
    def source_state(self) -> Mapping[str, object]:
        """What identifies the source as it is now, cheaply: fields, and size and time of its files.

        Equal states mean that a packed copy may be reused without reading the source again.

        Raises:
            DatasetError: The source is missing.
        """

    @abstractmethod
    def records(self) -> Iterator[Record | Skipped]:
        """Yields every sample, all images of one shape.

        Raises:
            DatasetError: A file is corrupt, a class unknown, a split missing; the message names it.
        """
