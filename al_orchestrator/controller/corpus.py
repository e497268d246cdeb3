"""The images that an experiment's encoder is learned from: its pool's, or others without labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets import PackedDataset, pack, pool_ids
from al_orchestrator.datasets.base import Manifest
from al_orchestrator.errors import DatasetError
from al_orchestrator.splits import Splits
from trainers import Images
from trainers.base import Rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Images of a packed dataset, seen as the experiment sees its own."""

    images: Images  # with the normalisation of the experiment's dataset: one serves all
    manifest: Manifest
    rows: Rows  # (N,) ascending; none that stands in validation or test


def corpus_of(
    config: ExperimentConfig, data: PackedDataset, splits: Splits, workspace: Path
) -> Corpus:
    """What the encoder of an experiment is learned from; packs `pretrain_on` if there is one.

    Raises:
        DatasetError: The images of `pretrain_on` cannot be read, or none is left.
    """
    images = Images(path=data.images, mean=data.manifest.mean, std=data.manifest.std)
    if config.pretrain_on is None:
        return Corpus(images, data.manifest, data.manifest.rows_of(splits.pool))
    if not config.pretrain_on.path.is_dir():
        raise DatasetError(
            f"pretrain_on: {config.pretrain_on.path} is not a folder; the encoder is learned from "
            "its images, and once it lies in the workspace a run goes on without them"
        )
    policy = config.pretrain_on.duplicates
    packed = pack(config.pretrain_on.reader(data.manifest.image_shape), workspace)
    manifest = packed.manifest
    ids, dropped = pool_ids(manifest, policy)
    rows = manifest.rows_of(ids)
    is_pool = np.isin(
        data.manifest.splits, ["train", "val"] if config.validation.merge else ["train"]
    )
    held_out = data.manifest.image_hashes[~is_pool]
    is_held_out = np.isin(manifest.image_hashes[rows], held_out)
    found = int(is_held_out.sum())
    if found and policy.across_splits == "refuse":
        raise DatasetError(
            f"{found} images of {config.pretrain_on.path} stand in val or test, and "
            "pretrain_on.duplicates.across_splits is `refuse`; take them out, or set it to `drop`"
        )
    if policy.across_splits == "drop":
        rows = rows[~is_held_out]
    if not len(rows):
        raise DatasetError(f"every image of {config.pretrain_on.path} stands in val or test")
    logger.info(
        "%s images without labels of %s (%d repeats dropped, %d that stand in val or test)",
        f"{len(rows):,}",
        config.pretrain_on.path,
        dropped["within_pool"],
        found,
    )
    return Corpus(replace(images, path=packed.images), manifest, rows)
