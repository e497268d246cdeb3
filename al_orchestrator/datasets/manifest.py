"""Builds, fingerprints, stores and reads the manifest of a dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.base import Manifest
from al_orchestrator.errors import DatasetError
from al_orchestrator.files import digest_of_file, digest_of_json

FORMAT = 1
"""Version of the folder's layout; raised when an older program could misread it."""

MANIFEST = "manifest.parquet"
DESCRIPTION = "dataset.json"
_VOTES = "votes"

Histogram = npt.NDArray[np.int64]
"""(Ch, 256) how often each grey level occurs in each channel."""


def hash_image(image: npt.NDArray[np.uint8]) -> str:
    """Digest of an image (H, W, Ch): equal for equal shape and pixels, whatever file it was in."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()


def count_levels(images: npt.NDArray[np.uint8]) -> Histogram:
    """Grey levels of images (R, H, W, Ch) per channel; sums of these are exact in any order."""
    channels = images.shape[-1]
    return np.stack(
        [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(channels)]
    ).astype(np.int64)


def normalisation(levels: Histogram) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation per channel, of values scaled to [0, 1].

    A channel that is the same everywhere gets a deviation of 1, so that dividing by it is harmless.
    """
    values = np.arange(256) / 255
    shares = levels / np.maximum(levels.sum(axis=1, keepdims=True), 1)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(axis=1)
    constant = (levels > 0).sum(axis=1) <= 1
    std = np.where(constant, 1.0, np.sqrt(variance))
    return tuple(mean.tolist()), tuple(std.tolist())


@dataclass
class ManifestBuilder:
    """Collects what a manifest says of each sample while a source streams by."""

    classes: tuple[str, ...]
    ids: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    votes: list[tuple[int, ...]] = field(default_factory=list)  # of each sample, or of none

    def __len__(self) -> int:
        return len(self.ids)

    def order(self) -> npt.NDArray[np.int64]:
        """Arrival positions in ascending order of id."""
        return np.argsort(np.asarray(self.ids, dtype=np.str_), kind="stable").astype(np.int64)

    def build(
        self, image_shape: tuple[int, int, int], levels: Histogram, skipped: Mapping[str, int]
    ) -> Manifest:
        """The manifest in order of id; `levels` are the grey levels of the training images."""
        order = self.order()
        mean, std = normalisation(levels)
        ids, splits, hashes = (
            _strings(column)[order] for column in (self.ids, self.splits, self.hashes)
        )
        labels = np.asarray(self.labels, dtype=np.int64)[order]
        votes = np.asarray(self.votes, dtype=np.int64)[order] if self.votes else None
        return Manifest(
            ids=ids,
            splits=splits,
            labels=labels,
            image_hashes=hashes,
            classes=self.classes,
            image_shape=image_shape,
            mean=mean,
            std=std,
            fingerprint=fingerprint(ids, splits, labels, hashes, self.classes, image_shape, votes),
            skipped=dict(skipped),
            votes=votes,
        )


def _strings(values: Sequence[str]) -> npt.NDArray[np.str_]:
    return np.asarray(values, dtype=np.str_)


def fingerprint(
    ids: npt.NDArray[np.str_],
    splits: npt.NDArray[np.str_],
    labels: npt.NDArray[np.int64],
    image_hashes: npt.NDArray[np.str_],
    classes: tuple[str, ...],
    image_shape: tuple[int, int, int],
    votes: npt.NDArray[np.int64] | None = None,
) -> str:
    """32 hexadecimal digits; equal for equal data, whichever source or order it came in."""
    digest = hashlib.sha256(digest_of_json([classes, image_shape]).encode())
    for row in zip(ids.tolist(), splits.tolist(), labels.tolist(), image_hashes, strict=True):
        # JSON quotes what it joins, so no id can pass for another row's fields.
        digest.update(json.dumps([str(row[0]), row[1], row[2], str(row[3])]).encode())
    if votes is not None:
        digest.update(json.dumps(votes.tolist()).encode())
    return digest.hexdigest()[:32]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the table and the description; the folder is not yet anyone else's to see."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.array(manifest.ids.tolist(), pa.string()),
        "split": pa.array(manifest.splits.tolist(), pa.string()),
        "label": pa.array(manifest.labels, pa.int64()),
        "image_hash": pa.array(manifest.image_hashes.tolist(), pa.string()),
    }
    if manifest.votes is not None:
        columns[_VOTES] = pa.array(manifest.votes.tolist(), pa.list_(pa.int64()))
    pq.write_table(pa.table(columns), folder / MANIFEST)
    description = {
        "format": FORMAT,
        "fingerprint": manifest.fingerprint,
        "classes": manifest.classes,
        "image_shape": manifest.image_shape,
        "mean": manifest.mean,
        "std": manifest.std,
        "skipped": dict(manifest.skipped),
        "manifest_sha256": digest_of_file(folder / MANIFEST),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest stored in `folder`.

    Raises:
        DatasetError: A file is missing or altered, or a newer program wrote it.
    """
    description = _read_description(folder)
    try:
        if digest_of_file(folder / MANIFEST) != description["manifest_sha256"]:
            raise DatasetError(f"{folder / MANIFEST} was altered after it was written")
        return _parse(folder, description)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{folder} is not a whole packed dataset: {error}") from error


def _read_description(folder: Path) -> dict[str, object]:
    try:
        text = (folder / DESCRIPTION).read_text(encoding="utf-8")
        description = json.loads(text)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} is not a packed dataset: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise DatasetError(
            f"{folder / DESCRIPTION} is not of format {FORMAT}, the one this program reads; "
            "pack the dataset again in another workspace, or use the program that wrote it"
        )
    return description


def _parse(folder: Path, description: dict[str, object]) -> Manifest:
    import pyarrow.parquet as pq
    from pydantic import TypeAdapter

    table = pq.read_table(folder / MANIFEST)
    floats, names = TypeAdapter(tuple[float, ...]), TypeAdapter(tuple[str, ...])
    return Manifest(
        ids=_strings(table["id"].to_pylist()),
        splits=_strings(table["split"].to_pylist()),
        labels=table["label"].to_numpy().astype(np.int64),
        image_hashes=_strings(table["image_hash"].to_pylist()),
        classes=names.validate_python(description["classes"]),
        image_shape=TypeAdapter(tuple[int, int, int]).validate_python(description["image_shape"]),
        mean=floats.validate_python(description["mean"]),
        std=floats.validate_python(description["std"]),
        fingerprint=str(description["fingerprint"]),
        skipped=TypeAdapter(dict[str, int]).validate_python(description["skipped"]),
        votes=np.asarray(table[_VOTES].to_pylist(), np.int64)
        if _VOTES in table.schema.names
        else None,
    )
