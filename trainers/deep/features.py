"""Embeddings of every image of a packed file under a frozen encoder, computed once.

``cache_dir/features-<key>.npy`` is (R, D) float32, row r of the packed file. The key is a digest of
the encoder's weights, of the packed file's bytes and of how they are computed, so a file is never
wrong, only absent; it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.base import Images
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels, open_packed
from trainers.deep.networks import Network, encoder_digest
from trainers.deep.outputs import create_array, flush_array
from trainers.deep.scoring import score
from trainers.files import replacing

Floats = npt.NDArray[np.float32]

LAW = 1
"""Raised whenever the same encoder and pixels come to give other embeddings."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Features:
    """Embeddings of all R images of a file."""

    key: str  # of encoder, images and how they are computed
    values: Floats  # (R, D), a read-only memory map


def features_of(
    network: Network, images: Images, mode: Mode, device: str, cache_dir: Path
) -> Features:
    """The embeddings kept in `cache_dir`, computed first where they are not."""
    key = _key(network, images, mode, cache_dir)
    path = cache_dir / f"features-{key}.npy"
    if not path.exists():
        logger.info("embedding all images of %s into %s", images.path, path)
        rows = np.arange(len(open_packed(images)))
        pixels, normalise = Pixels(images, rows, device), Normaliser(images, device)
        with replacing(path) as temporary:
            features = create_array(temporary, (len(rows), network.embedding_width))
            for block in score(network, pixels, normalise, mode, device):
                features[block.block] = block.embeddings.float().cpu().numpy()
            flush_array(features)
    return Features(key, np.asarray(np.load(path, mmap_mode="r")))


def _key(network: Network, images: Images, mode: Mode, cache_dir: Path) -> str:
    parts = {
        "law": LAW,
        "encoder": encoder_digest(network),
        "plan": asdict(network.plan),
        "images": digest_of_images(images.path, cache_dir),
        "normalisation": (images.mean, images.std),
        # Without the threads: other last bits are not worth embedding all images again.
        "mode": (mode.precision, mode.channels_last),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def digest_of_images(path: Path, cache_dir: Path) -> str:
    """sha256 of a packed file; remembered as long as its place, size and time stay the same."""
    found = path.stat()
    place = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
    remembered = cache_dir / f"images-{hashlib.sha256(place.encode()).hexdigest()[:24]}.digest"
    if not remembered.exists():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with replacing(remembered) as temporary:
            temporary.write_text(digest, encoding="ascii")
    return remembered.read_text(encoding="ascii")
