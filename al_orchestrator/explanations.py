"""Images whose answers were explained: which, as what they are kept, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.base import Manifest, PackedDataset, Split
from al_orchestrator.figures import Scale, min_max, saliency_sheet
from al_orchestrator.files import is_intact, replacing
from al_orchestrator.run_dir import RunDir
from al_orchestrator.seeds import derive_rng

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Explained:
    """Images, and what in each speaks for the class the learner answers with."""

    images: npt.NDArray[np.uint8]  # (N, H, W, Ch) as the learner is shown them
    maps: Floats  # (N, H, W), 0 and more
    log_probs: Floats  # (N, C)


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


def sample_of(manifest: Manifest, seed: int, *, split: Split, each: int) -> npt.NDArray[np.int64]:
    """Rows of up to `each` images of every class of a split, class by class, drawn by the seed."""
    rng = derive_rng(seed, 0, "saliency")
    is_there = manifest.splits == split
    return np.concatenate(
        [
            np.sort(rng.permutation(np.flatnonzero(is_there & (manifest.labels == code)))[:each])
            for code in range(len(manifest.classes))
        ]
    )


def of_sample(
    data: PackedDataset, rows: npt.NDArray[np.int64], maps: Floats, log_probs: Floats
) -> Explanation:
    """What was found of rows of a dataset; the images of a class share a picture."""
    manifest = data.manifest
    labels = tuple(manifest.classes[code] for code in manifest.labels[rows])
    return Explanation(
        classes=manifest.classes,
        names=tuple(manifest.ids[rows].tolist()),
        pictures=labels,
        labels=labels,
        found=Explained(np.load(data.images, mmap_mode="r")[rows], maps, log_probs),
        skipped={},
    )


def of_round(run: RunDir, recorded: Mapping[str, Any], data: PackedDataset) -> Explanation | None:
    """What a round's ledger has of its explanation; None where a file is lost or changed."""
    arrays = {}
    for name in ("maps", "log_probs"):
        path = run.folder / recorded[name]
        if not is_intact(path, recorded[f"{name}_file"]):
            return None
        arrays[name] = np.load(path)
    rows = data.manifest.rows_of(np.array(recorded["ids"]))
    return of_sample(data, rows, arrays["maps"], arrays["log_probs"])


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
