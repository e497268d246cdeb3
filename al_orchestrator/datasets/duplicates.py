"""Finds images that repeat, pixel for pixel, and decides which of them stay in the pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.base import Duplicates, Manifest
from al_orchestrator.errors import DatasetError

Ids = npt.NDArray[np.str_]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DuplicateReport:
    """Which samples repeat another; ids ascending. A sample may stand in several lists."""

    repeats: Ids  # pixels of an earlier sample, in order of id, over all splits
    conflicting: Ids  # those of `repeats` whose label differs from that first sample's
    leaking: Ids  # val and test samples with the pixels of a training sample
    shared: Ids  # test samples with the pixels of a val sample


def find_duplicates(manifest: Manifest) -> DuplicateReport:
    """Compares every sample with every other by the hash of its pixels."""
    image, first = _group(manifest.image_hashes)
    repeats = first[image] != np.arange(len(manifest))
    differs = (manifest.labels != manifest.labels[first[image]]) & (manifest.labels >= 0)
    stands_in = {split: _stands_in(manifest, image, split) for split in ("train", "val")}
    is_test = manifest.splits == "test"
    return DuplicateReport(
        repeats=manifest.ids[repeats],
        conflicting=manifest.ids[repeats & differs & (manifest.labels[first[image]] >= 0)],
        leaking=manifest.ids[(manifest.splits != "train") & stands_in["train"]],
        shared=manifest.ids[is_test & stands_in["val"]],
    )


def pool_ids(manifest: Manifest, policy: Duplicates) -> tuple[Ids, Mapping[str, int]]:
    """Training ids that make the pool, ascending, and how many each rule took out.

    Rules apply one after the other: across splits, conflicting, within the pool. Each sees what the
    ones before it left.

    Raises:
        DatasetError: A rule says `refuse` and there are such images, or nothing is left.
    """
    image, _ = _group(manifest.image_hashes)
    is_train = manifest.splits == "train"
    held_out = np.unique(image[~is_train])
    rows = np.flatnonzero(is_train)
    rows, across = _apply("across_splits", policy, rows, np.isin(image[rows], held_out))
    rows, conflicting = _apply("conflicting", policy, rows, _conflicts(manifest, image, rows))
    rows, within = _apply("within_pool", policy, rows, _repeats(image[rows]))
    if not len(rows):
        raise DatasetError("the rules for duplicates leave no training image; set them to `keep`")
    dropped = {"across_splits": across, "conflicting": conflicting, "within_pool": within}
    return manifest.ids[rows], dropped


_WHAT = {
    "across_splits": "stand in val or test too",
    "conflicting": "repeat under another label",
    "within_pool": "repeat an earlier one",
}


def _apply(rule: str, policy: Duplicates, rows: Rows, concerned: Mask) -> tuple[Rows, int]:
    choice = getattr(policy, rule)
    number = int(concerned.sum())
    if choice == "refuse" and number:
        raise DatasetError(
            f"{number} training images {_WHAT[rule]}, and `duplicates.{rule}` is `refuse`; clean "
            "the source, or set it to `drop` or `keep`"
        )
    return (rows[~concerned], number) if choice == "drop" else (rows, 0)


def _group(hashes: Ids) -> tuple[Rows, Rows]:
    """For each row the number of its image, and for each image the first row that shows it."""
    _, first, image = np.unique(hashes, return_index=True, return_inverse=True)
    return image.astype(np.int64), first.astype(np.int64)


def _stands_in(manifest: Manifest, image: Rows, split: str) -> Mask:
    return np.isin(image, image[manifest.splits == split])


def _repeats(image: Rows) -> Mask:
    """Which rows show an image that an earlier row shows."""
    is_repeat = np.ones(len(image), dtype=np.bool_)
    is_repeat[np.unique(image, return_index=True)[1]] = False
    return is_repeat


def _conflicts(manifest: Manifest, image: Rows, rows: Rows) -> Mask:
    """Which of these rows share an image with one of another known label."""
    known = rows[manifest.labels[rows] >= 0]
    pairs = np.unique(np.stack([image[known], manifest.labels[known]]), axis=1)
    images, num_labels = np.unique(pairs[0], return_counts=True)
    return np.isin(image[rows], images[num_labels > 1])
