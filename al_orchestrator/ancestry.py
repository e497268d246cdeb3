"""What a learner has behind it: remembered in its checkpoints, asked before a run goes on from one.

A checkpoint of ours says how its images were normalised, in which order their colours and the
classes of its head are. Somebody else's says none of it, and nothing is compared then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets.base import Manifest

_SHIFT = 0.05  # of a mean, in deviations
_STRETCH = 0.05  # of a deviation, as a share of it
_COLOURS = "rgb"  # of every image here


def origin(manifest: Manifest) -> dict[str, object]:
    """What the checkpoints of a run remember beside mean and deviation."""
    return {"classes": list(manifest.classes), "channel_order": _COLOURS}


def start_of(config: ExperimentConfig) -> Mapping[str, Any]:
    """What the checkpoint that round 0 goes on from remembers; nothing where there is none.

    Raises:
        TrainingError: It cannot be read.
    """
    file = config.trainer.starting_file
    return {} if file is None else config.trainer.record_of(file)


def refusal_of_start(start: Mapping[str, Any], manifest: Manifest) -> str | None:
    """Why a run on this dataset cannot go on from such a checkpoint, or None if it can.

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
    """
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
