"""Turns a source into a folder in the workspace that never changes again, or finds it there.

::

    datasets/
        <fingerprint>/              see `datasets.base`
        sources/<digest>.json       a source as it was -> the fingerprint of what it held
        sources/<digest>.lock       held while that source is being packed
        .packing-<digest>/          a folder in the making; what a killed process left is removed
                                    by the next one that packs the same source

The digest is of `DatasetReader.source_state`. A second process that wants the same source waits
for the first and finds its work done.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.base import DatasetReader, Manifest, PackedDataset
from al_orchestrator.datasets.intake import Intake
from al_orchestrator.datasets.manifest import (
    FORMAT,
    count_levels,
    hash_image,
    read_manifest,
    write_manifest,
)
from al_orchestrator.errors import DatasetError
from al_orchestrator.files import digest_of_json, write_text

logger = logging.getLogger(__name__)

Progress = Callable[[int], None]
"""Told how many samples have been read so far."""

_PROGRESS_EVERY = 256
_COPY_MIB = 16


def pack(
    reader: DatasetReader, workspace: Path, *, progress: Progress | None = None
) -> PackedDataset:
    """The dataset `reader` describes, packed in `workspace`; reads the source only if it changed.

    Safe to call from several processes at once. A process killed on the way leaves nothing that a
    later call would take for a dataset.

    Raises:
        DatasetError: The source cannot be read as asked, ids repeat, shapes differ, a class is
            unknown or has no training image, there is no train or test split, or the source
            changed while it was read.
    """
    state = _state(reader)
    datasets = workspace / "datasets"
    index = datasets / "sources" / f"{state}.json"
    index.parent.mkdir(parents=True, exist_ok=True)
    with _locked(index.with_suffix(".lock")):
        found = _reuse(datasets, index)
        if found is not None:
            return found
        making = datasets / f".packing-{state[:32]}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        try:
            manifest = _fill(making, reader, progress)
            if _state(reader) != state:
                raise DatasetError(
                    f"the source of {reader.name} changed while it was read; pack again"
                )
            folder = _publish(making, datasets / manifest.fingerprint)
        finally:
            shutil.rmtree(making, ignore_errors=True)
        entry = {"fingerprint": manifest.fingerprint, "skipped": dict(manifest.skipped)}
        write_text(index, json.dumps(entry, indent=2) + "\n")
    logger.info("packed %s: %s images", reader.name, f"{len(manifest):,}")
    return PackedDataset(manifest=manifest, folder=folder)


def _state(reader: DatasetReader) -> str:
    return digest_of_json([FORMAT, reader.name, dict(reader.source_state())])


def load(folder: Path) -> PackedDataset:
    """A packed dataset, checked by the manifest's digest and the size of the image file.

    Raises:
        DatasetError: The folder does not hold a whole packed dataset.
    """
    packed = PackedDataset(manifest=read_manifest(folder), folder=folder)
    expected = (len(packed.manifest), *packed.manifest.image_shape)
    try:
        images = np.load(packed.images, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{packed.images} cannot be mapped: {error}") from error
    if images.shape != expected or images.dtype != np.uint8:
        raise DatasetError(
            f"{packed.images} holds {images.dtype} {images.shape}, "
            f"its manifest says uint8 {expected}; remove {folder} and pack again"
        )
    return packed


def verify(packed: PackedDataset) -> None:
    """Reads every image and compares it with its hash.

    Raises:
        DatasetError: Pixels changed after packing; the message names the first ids.
    """
    images: npt.NDArray[np.uint8] = np.load(packed.images, mmap_mode="r")
    stored = packed.manifest.image_hashes.tolist()
    wrong = [row for row, digest in enumerate(stored) if hash_image(images[row]) != digest]
    if wrong:
        first = ", ".join(packed.manifest.ids[wrong[:3]].tolist())
        raise DatasetError(
            f"{packed.images}: {len(wrong)} images changed after packing, first {first}; "
            f"remove {packed.folder} and pack again"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process packs this source; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reuse(datasets: Path, index: Path) -> PackedDataset | None:
    if not index.exists():
        return None
    try:
        entry = json.loads(index.read_text(encoding="utf-8"))
        packed = load(datasets / entry["fingerprint"])
        # Another source may have packed the same data and skipped other files.
        return replace(packed, manifest=replace(packed.manifest, skipped=entry["skipped"]))
    except (DatasetError, ValueError, KeyError, TypeError) as error:
        logger.warning("packing again: %s", error)
        return None


def _publish(making: Path, folder: Path) -> Path:
    """Moves a finished folder to its name, unless the same data already stands there."""
    for path in (*making.iterdir(), making):
        _sync(path)
    if folder.exists():
        try:
            load(folder)
        except DatasetError:
            shutil.rmtree(folder)
        else:
            return folder
    try:
        making.replace(folder)
    except OSError:
        # Another source with the very same data was faster; its folder is as good as ours.
        load(folder)
    _sync(folder.parent)
    return folder


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fill(making: Path, reader: DatasetReader, progress: Progress | None) -> Manifest:
    spool = making / "arrival.raw"
    intake = Intake(reader.classes)
    with spool.open("wb") as file:
        for item in reader.records():
            intake.take(item, file)
            if progress is not None and intake.seen % _PROGRESS_EVERY == 0:
                progress(intake.seen)
    if progress is not None:
        progress(intake.seen)
    intake.finish()
    levels = _sort_images(intake, spool, making / "images.npy")
    spool.unlink()
    manifest = intake.builder.build(intake.shape, levels, intake.skipped)
    write_manifest(making, manifest)
    for path in making.iterdir():
        path.chmod(0o444)
    return manifest


def _sort_images(intake: Intake, spool: Path, target: Path) -> npt.NDArray[np.int64]:
    """Copies images into order of id; returns the grey levels of the training images."""
    shape = (len(intake.builder), *intake.shape)
    arrived = np.memmap(spool, dtype=np.uint8, mode="r", shape=shape)
    images = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    order = intake.builder.order()
    is_train = np.asarray(intake.builder.splits)[order] == "train"
    levels = np.zeros((intake.shape[2], 256), dtype=np.int64)
    step = max(1, (_COPY_MIB << 20) // max(1, int(np.prod(intake.shape))))
    for start in range(0, len(order), step):
        block = arrived[order[start : start + step]]
        images[start : start + step] = block
        levels += count_levels(block[is_train[start : start + step]])
    images.flush()
    return levels
