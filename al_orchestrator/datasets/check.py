"""What `alo datasets check` says of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np

from al_orchestrator.datasets.base import Manifest, PackedDataset, Split
from al_orchestrator.datasets.duplicates import find_duplicates


@dataclass(frozen=True)
class DatasetSummary:
    """Counts of a packed dataset."""

    fingerprint: str
    images: int
    image_shape: tuple[int, int, int]  # (H, W, Ch)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]  # split -> class -> samples
    unlabelled: Mapping[str, int]  # split -> samples without a known label
    repeats: int  # images that repeat an earlier one, by id
    conflicting: int  # those of them under another label
    leaking: int  # val and test images that repeat a training image
    shared: int  # test images that repeat a val image
    skipped: Mapping[str, int]  # reason -> samples left out when the source was read

    def to_json(self) -> dict[str, object]:
        """The fields as what `json.dumps` takes."""
        return asdict(self)


def describe(packed: PackedDataset) -> DatasetSummary:
    """Counts classes and duplicates; reads the manifest only."""
    manifest = packed.manifest
    found = find_duplicates(manifest)
    return DatasetSummary(
        fingerprint=manifest.fingerprint,
        images=len(manifest),
        image_shape=manifest.image_shape,
        mean=manifest.mean,
        std=manifest.std,
        classes=manifest.classes,
        counts={split: _count_classes(manifest, split) for split in get_args(Split)},
        unlabelled={
            split: int(((manifest.splits == split) & (manifest.labels < 0)).sum())
            for split in get_args(Split)
        },
        repeats=len(found.repeats),
        conflicting=len(found.conflicting),
        leaking=len(found.leaking),
        shared=len(found.shared),
        skipped=dict(manifest.skipped),
    )


def _count_classes(manifest: Manifest, split: str) -> dict[str, int]:
    labels = manifest.labels[(manifest.splits == split) & (manifest.labels >= 0)]
    counts = np.bincount(labels, minlength=len(manifest.classes))
    return dict(zip(manifest.classes, counts.tolist(), strict=True))
