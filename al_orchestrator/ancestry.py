"""What a learner has behind it: remembered in its checkpoints, asked before a run goes on from one.

A checkpoint of ours says how its images were normalised, in which order their colours and the
classes of its head are, and from the labels of which images it has learned, itself or in a stage
before it. Somebody else's says none of it, and nothing is compared then. An image is known by its
pixels as they were packed, so at another size it is another image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets.base import Manifest
from trainers.base import TrainingError

_SHIFT = 0.05  # of a mean, in deviations
_STRETCH = 0.05  # of a deviation, as a share of it
_COLOURS = "rgb"  # of every image here
_DIGITS = 12  # of an image's hash: 48 bits tell some ten thousand images from as many others

Hashes = npt.NDArray[np.str_]
Ids = npt.NDArray[np.str_]


def origin(manifest: Manifest, labelled: Ids, before: Mapping[str, Any]) -> dict[str, object]:
    """What the checkpoints of a round remember beside mean and deviation.

    Args:
        manifest: Of its dataset, with everything that is in the pool.
        labelled: (N,) ids it learns from.
        before: What the checkpoint remembers that it starts from; empty where there is none.
    """
    own = manifest.image_hashes[manifest.rows_of(labelled)].astype(f"U{_DIGITS}")
    learned = np.union1d(_parted(before.get("learned", "")), own)
    return {
        "classes": list(manifest.classes),
        "channel_order": _COLOURS,
        "learned": "".join(learned.tolist()),
    }


def has_learned(record: Mapping[str, Any], hashes: Hashes) -> npt.NDArray[np.bool_]:
    """(N,): from which of these images a learner has learned.

    Args:
        record: What its checkpoint remembers.
        hashes: (N,) of `Manifest.image_hashes`.
    """
    found = np.isin(hashes.astype(f"U{_DIGITS}"), _parted(record.get("learned", "")))
    return np.asarray(found, np.bool_)


def _parted(learned: str) -> Hashes:
    parts = [learned[at : at + _DIGITS] for at in range(0, len(learned), _DIGITS)]
    return np.array(parts, f"U{_DIGITS}")


def start_of(config: ExperimentConfig) -> Mapping[str, Any]:
    """What the checkpoint that round 0 goes on from remembers; nothing where there is none.

    Raises:
        TrainingError: It cannot be read.
    """
    file = config.trainer.starting_file
    return {} if file is None else config.trainer.record_of(file)


def encoder_of(config: ExperimentConfig) -> Mapping[str, Any]:
    """The same of the file of encoder weights that rounds start from.

    What the file itself is good for, whoever reads its weights says.
    """
    encoder = config.trainer.starting_encoder()
    if encoder is None or encoder.weights is None:
        return {}
    try:
        return config.trainer.record_of(encoder.weights)
    except TrainingError:
        return {}


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
    return _refusal_of_kind(start, manifest) or refusal_of_sets(
        "start_from", start, manifest, validation=validation, test=test
    )


def refusal_of_sets(
    what: str, start: Mapping[str, Any], manifest: Manifest, *, validation: Ids, test: Ids
) -> str | None:
    """Why weights that remember this cannot be measured on these sets, or None if they can.

    Images that stand in the pool as well are no matter of the weights.
    """
    ways_out = {
        "validation": "set validation.merge to true, or validation.size to 0",
        "test": "measure on other images, or go on from a checkpoint that has not seen these",
    }
    in_pool = manifest.splits == "train"
    in_pool[manifest.rows_of(np.concatenate([validation, test]))] = False
    own = manifest.image_hashes[in_pool]
    for name, ids in (("validation", validation), ("test", test)):
        hashes = manifest.image_hashes[manifest.rows_of(ids)]
        known = int((has_learned(start, hashes) & ~np.isin(hashes, own)).sum())
        if known:
            return (
                f"{what} has learned from {known:,} of the {len(ids):,} {name} images, itself or "
                "in a stage before it (other splits, or validation.merge), and a measure on them "
                f"would be one of training; {ways_out[name]}"
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
