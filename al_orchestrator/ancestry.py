"""What a learner has behind it: remembered in its checkpoints, asked before a run goes on from one.

A checkpoint of ours says how its images were normalised, in which order their colours and the
classes of its head are, and which images of a val split it has learned from, itself or in a stage
before it. Somebody else's says none of it, and nothing is compared then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets.base import Manifest

_SHIFT = 0.05  # of a mean, in deviations
_STRETCH = 0.05  # of a deviation, as a share of it
_COLOURS = "rgb"  # of every image here
_DIGITS = 16  # of an image's hash: 64 bits tell any number of images apart that there will be

Hashes = npt.NDArray[np.str_]
Ids = npt.NDArray[np.str_]


def origin(config: ExperimentConfig, manifest: Manifest, before: str = "") -> dict[str, object]:
    """What the checkpoints of a run remember beside mean and deviation.

    Args:
        config: Of the run.
        manifest: Of its dataset.
        before: `merged` of the checkpoint that round 0 went on from.
    """
    merged = _parted(before)
    if config.validation.merge:
        own = manifest.image_hashes[manifest.splits == "val"].astype(f"U{_DIGITS}")
        merged = np.union1d(merged, own)
    return {
        "classes": list(manifest.classes),
        "channel_order": _COLOURS,
        "merged": "".join(merged.tolist()),
    }


def was_merged(record: Mapping[str, Any], hashes: Hashes) -> npt.NDArray[np.bool_]:
    """(N,): which of these images of val splits a learner has learned from.

    Args:
        record: What its checkpoint remembers.
        hashes: (N,) of `Manifest.image_hashes`.
    """
    found = np.isin(hashes.astype(f"U{_DIGITS}"), _parted(record.get("merged", "")))
    return np.asarray(found, np.bool_)


def _parted(merged: str) -> Hashes:
    parts = [merged[at : at + _DIGITS] for at in range(0, len(merged), _DIGITS)]
    return np.array(parts, f"U{_DIGITS}")


def start_of(config: ExperimentConfig) -> Mapping[str, Any]:
    """What the checkpoint that round 0 goes on from remembers; nothing where there is none.

    Raises:
        TrainingError: It cannot be read.
    """
    file = config.trainer.starting_file
    return {} if file is None else config.trainer.record_of(file)


def refusal_of_start(
    start: Mapping[str, Any], manifest: Manifest, *, validation: Ids, test: Ids
) -> str | None:
    """Why a run on this dataset cannot go on from such a checkpoint, or None if it can.

    What a stage before has learned from is no validation or test set of this one.

    Classes and colours must be the same. Means and deviations are measured on each dataset's own
    training images, so those of two samples of one kind of image differ a little: up to a
    twentieth of a deviation they may, and the run then goes on with its own, by which it is
    measured as well. The file's would have to be carried into everything that ever looks through
    this learner, for a difference below that between two images. What differs by more is another
    kind of image, or another convention, such as ImageNet's constants: the first layers would see
    what they never learned from, and nobody would be told.

    Args:
        start: Of `start_of`.
        manifest: Of the run's dataset.
        validation: Ids of what chooses an epoch.
        test: Ids of what the run is measured on.
    """
    return _refusal_of_kind(start, manifest) or _refusal_of_sets(start, manifest, validation, test)


def _refusal_of_sets(
    start: Mapping[str, Any], manifest: Manifest, validation: Ids, test: Ids
) -> str | None:
    ways_out = {
        "validation": "set validation.merge to true, or validation.size to 0",
        "test": "measure on another split, or go on from a checkpoint of before the merge",
    }
    for name, ids in (("validation", validation), ("test", test)):
        known = int(was_merged(start, manifest.image_hashes[manifest.rows_of(ids)]).sum())
        if known:
            return (
                f"start_from has learned from {known:,} of the {len(ids):,} {name} images: they "
                "were a val split that it, or a stage before it, merged into its pool "
                f"(validation.merge), and a measure on them would be one of training; "
                f"{ways_out[name]}"
            )
    return None


def _refusal_of_kind(start: Mapping[str, Any], manifest: Manifest) -> str | None:
    classes, order = start.get("classes"), start.get("channel_order", _COLOURS)
    if classes is not None and tuple(classes) != manifest.classes:
        return (
            f"start_from tells {', '.join(classes)} apart, in this order, and the dataset has "
            f"{', '.join(manifest.classes)}; give the dataset the same classes in the same order, "
            "or take the encoder alone (trainer.encoder.weights), with a head of its own"
        )
    if order != _COLOURS:
        return (
            f"start_from saw colours as {order}, and images here are {_COLOURS}; take the file it "
            "came from as trainer.encoder.weights, with channel_order"
        )
    if "mean" not in start or "std" not in start:
        return None
    mean, std = (np.asarray(start[name], np.float64) for name in ("mean", "std"))
    shift = np.abs(mean - manifest.mean) / manifest.std
    stretch = np.abs(std / manifest.std - 1)
    if (shift > _SHIFT).any() or (stretch > _STRETCH).any():
        return (
            f"start_from saw images normalised by mean {_told(mean)} and deviation {_told(std)}, "
            f"those of the dataset are {_told(manifest.mean)} and {_told(manifest.std)}: other "
            "images than it learned from; take a checkpoint of images like these, or the encoder "
            "alone (trainer.encoder.weights)"
        )
    return None


def _told(values: Any) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
