"""What in an image speaks for the class a learner answers with, as pictures and arrays."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets import load
from al_orchestrator.datasets.base import Split
from al_orchestrator.errors import ConfigError
from al_orchestrator.experiment import identity_in_mirror
from al_orchestrator.figures import Scale, min_max, saliency_sheet
from al_orchestrator.files import replacing
from al_orchestrator.pool import Pool
from al_orchestrator.predicting import Explained, Learner, ask, predict_files
from al_orchestrator.run_dir import RunDir, Workspace
from al_orchestrator.seeds import derive_rng
from al_orchestrator.tracking import Message
from trainers import Saliency


@dataclass(frozen=True, eq=False)
class Explanation:
    """Images that were explained, and what they are called."""

    classes: tuple[str, ...]
    names: tuple[str, ...]  # (N,) the file, or the id in the dataset
    pictures: tuple[str, ...]  # (N,) the picture it stands in, without its suffix
    labels: tuple[str, ...] | None  # (N,) true classes, where they are known
    found: Explained
    skipped: dict[str, str]  # file -> why it could not be read

    @property
    def answers(self) -> list[tuple[str, float]]:
        """The class the learner answers with, and its probability."""
        probs = np.exp(self.found.log_probs.astype(np.float64))
        return [(self.classes[int(row.argmax())], float(row.max())) for row in probs]

    def captions(self) -> list[str]:
        """What stands below an image: its name or true class, then the answer."""
        above = self.labels or [Path(name).name for name in self.names]
        return [
            f"{first}\n{answer} {probability:.3f}"
            for first, (answer, probability) in zip(above, self.answers, strict=True)
        ]


def explain_files(
    learner: Learner, files: Sequence[Path], saliency: Saliency, *, skip_bad: bool = False
) -> Explanation:
    """Explains what a learner says of image files; each has a picture of its own.

    Raises:
        ConfigError: The learner cannot be explained.
        DatasetError: See `predict_files`.
    """
    seen = predict_files(learner, files, skip_bad=skip_bad, saliency=saliency)
    assert seen.explained is not None  # it was asked for
    return Explanation(
        classes=learner.classes,
        names=tuple(map(str, seen.paths)),
        pictures=tuple(f"{n:03d}-{path.stem}" for n, path in enumerate(seen.paths, start=1)),
        labels=None,
        found=seen.explained,
        skipped=seen.skipped,
    )


def explain_sample(
    learner: Learner, workspace: Workspace, saliency: Saliency, *, split: Split, each: int
) -> Explanation:
    """Explains up to `each` images of every class of a split, drawn by the experiment's seed.

    The images of a class share a picture.

    Args:
        learner: Of `learner_of`.
        workspace: Where the dataset it was trained on lies.
        saliency: How.
        split: Which split.
        each: Images of a class, 1 and more.

    Raises:
        ConfigError: The learner cannot be explained, or the split has no labelled image.
    """
    data = load(workspace.root / "datasets" / learner.manifest.fingerprint)
    manifest = data.manifest
    rng = derive_rng(learner.config.seed, 0, "saliency")
    is_there = manifest.splits == split
    rows = np.concatenate(
        [
            np.sort(rng.permutation(np.flatnonzero(is_there & (manifest.labels == code)))[:each])
            for code in range(len(manifest.classes))
        ]
    )
    if not len(rows):
        raise ConfigError(f"the {split} split has no labelled image")
    with tempfile.TemporaryDirectory(prefix="alo-explain-") as folder:
        asked = ask(learner, data.images, rows, Path(folder), saliency)
    labels = tuple(manifest.classes[code] for code in manifest.labels[rows])
    return Explanation(
        classes=learner.classes,
        names=tuple(manifest.ids[rows].tolist()),
        pictures=labels,
        labels=labels,
        found=Explained(np.load(data.images, mmap_mode="r")[rows], asked.maps, asked.log_probs),
        skipped={},
    )


def draw(explanation: Explanation, folder: Path, scale: Scale = "image") -> list[Path]:
    """Writes the pictures as PNG, image beside map beside overlay; returns their paths."""
    captions, images = explanation.captions(), explanation.found.images
    scaled = min_max(explanation.found.maps, scale)
    paths = []
    for picture in dict.fromkeys(explanation.pictures):
        rows = [row for row, other in enumerate(explanation.pictures) if other == picture]
        paths.append(folder / f"{picture}.png")
        below = [captions[row] for row in rows]
        saliency_sheet(images[rows], scaled[rows], below, paths[-1], scale=scale)
    return paths


def show(run: RunDir, config: ExperimentConfig, folder: Path, *, below: str) -> str | None:
    """Puts the files of a folder on the run's page in the mirror; again, they take their place.

    Args:
        run: Which has begun.
        config: Its own.
        folder: Absolute.
        below: Where they go among the run's artifacts.

    Returns:
        The run's page; None where the mirror shows nothing.

    Raises:
        TrackingError: The mirror cannot be reached.
    """
    with Pool(run.ledger, read_only=True) as pool:
        identity = identity_in_mirror(pool, run, config)
    if identity is None:
        return None
    tracker = config.tracking.connect(run.folder.parent)
    try:
        page = tracker.open(replace(identity, folder=folder.parent))
        payload = {"folder": folder.name, "to": below}
        tracker.send(Message("artifacts", payload, int(time.time() * 1000)))
    finally:
        tracker.close()
    return page


def save(explanation: Explanation, path: Path, scale: Scale = "image") -> None:
    """Writes the arrays as `.npz`, a row an image.

    `names` (N,), `images` (N, H, W, Ch) uint8, `maps` (N, H, W) float32 as computed and `scaled`
    from 0 to 1 by `scale`, `log_probs` (N, C); `classes` (C,).
    """
    found = explanation.found
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            names=np.array(explanation.names),
            images=found.images,
            maps=found.maps,
            scaled=min_max(found.maps, scale),
            scale=np.array(scale),
            log_probs=found.log_probs,
            classes=np.array(explanation.classes),
        )
