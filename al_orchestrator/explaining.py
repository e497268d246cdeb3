"""What in an image speaks for the class a learner answers with, as pictures and arrays."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets import load
from al_orchestrator.datasets.base import Split
from al_orchestrator.errors import ConfigError
from al_orchestrator.experiment import identity_in_mirror
from al_orchestrator.explanations import Explanation, draw, of_sample, sample_of, save
from al_orchestrator.pool import Pool
from al_orchestrator.predicting import Learner, ask, predict_files
from al_orchestrator.run_dir import RunDir, Workspace
from al_orchestrator.tracking import Message
from trainers import Saliency

__all__ = ["Explanation", "draw", "explain_files", "explain_sample", "save", "show"]


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
    rows = sample_of(data.manifest, learner.config.seed, split=split, each=each)
    if not len(rows):
        raise ConfigError(f"the {split} split has no labelled image")
    with tempfile.TemporaryDirectory(prefix="alo-explain-") as folder:
        asked = ask(learner, data.images, rows, Path(folder), saliency)
    return of_sample(data, rows, asked.maps, asked.log_probs)


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
