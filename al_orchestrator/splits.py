"""Which samples an experiment trains on, chooses an epoch by, and is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from al_orchestrator import stopping
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.datasets import pool_ids
from al_orchestrator.datasets.base import Manifest
from al_orchestrator.errors import ConfigError, DatasetError
from al_orchestrator.seeds import derive_rng
from trainers.base import Examples

Ids = npt.NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Splits:
    """Three sets of ids, each ascending; disjoint, unless it is declared that test validates."""

    pool: Ids  # (N,) may be asked for
    validation: Ids  # labels spent on choosing an epoch
    test: Ids  # decides nothing
    dropped: Mapping[str, int]  # why training images are not in the pool -> count

    def sizes(self) -> dict[str, object]:
        """How many samples each set has, and what was dropped."""
        return {
            "pool": len(self.pool),
            "validation": len(self.validation),
            "test": len(self.test),
            "dropped": dict(self.dropped),
        }


def split(manifest: Manifest, config: ExperimentConfig) -> Splits:
    """The sets of an experiment.

    Raises:
        ConfigError: The budget does not fit the pool, a label that is needed is unknown, or a rule
            or a schedule looks at a validation set that is empty.
    """
    if config.validation.merge:
        merged = np.where(manifest.splits == "val", "train", manifest.splits)
        manifest = replace(manifest, splits=merged)
    pool, dropped = pool_ids(manifest, config.dataset.duplicates)
    refusal = config.budget.refusal(len(pool))
    if refusal is not None:
        raise ConfigError(f"{refusal}{_because(dropped)}; lower the budget")
    test = manifest.ids[manifest.splits == "test"]
    sets = Splits(pool, _validation(manifest, config), test, dropped)
    _refuse_unknown_labels(manifest, sets, config)
    reason = stopping.refusal(
        config.stop,
        has_validation=len(sets.validation) > 0,
        may_read_test="test_selection" in config.protocol.allow,
    )
    if reason is not None:
        raise ConfigError(reason)
    follower = config.trainer.follows_validation()
    if follower is not None and not len(sets.validation):
        raise ConfigError(
            f"{follower} follows the validation set, and the {config.validation.split} split has "
            "no usable image; take another schedule, or data with such a split"
        )
    return sets


def examples(manifest: Manifest, ids: Ids) -> Examples:
    """Rows and labels of `ids`, as a trainer wants them."""
    rows = manifest.rows_of(ids)
    return Examples(rows=rows, labels=manifest.labels[rows])


def labelled_examples(manifest: Manifest, ids: Ids, labels: npt.NDArray[np.int64]) -> Examples:
    """What training learns from: the answers to `ids`, with the shares of their votes if any.

    Votes are read of these ids and no others: those of the rest of the pool are not bought yet.
    """
    rows = manifest.rows_of(ids)
    if manifest.votes is None:
        return Examples(rows=rows, labels=labels)
    votes = manifest.votes[rows]
    shares = (votes / votes.sum(axis=1, keepdims=True)).astype(np.float32)
    return Examples(rows=rows, labels=labels, shares=shares)


def _validation(manifest: Manifest, config: ExperimentConfig) -> Ids:
    size, source = config.validation.size, config.validation.split
    candidates = manifest.ids[manifest.splits == source]
    if source == "val" and config.dataset.duplicates.across_splits == "drop":
        in_test = manifest.image_hashes[manifest.splits == "test"]
        hashes = manifest.image_hashes[manifest.splits == "val"]
        candidates = candidates[~np.isin(hashes, in_test)]
    if size is None:
        size = min(5 * config.budget.initial, len(candidates))
    if size > len(candidates):
        raise ConfigError(
            f"validation.size is {size}, but the {source} split holds {len(candidates)} usable "
            "samples"
        )
    drawn = derive_rng(config.seed, 0, "validation").permutation(len(candidates))[:size]
    return np.sort(candidates[drawn])


def _refuse_unknown_labels(manifest: Manifest, sets: Splits, config: ExperimentConfig) -> None:
    wanted = {"validation": sets.validation, "test": sets.test}
    if config.oracle.name == "simulated":
        wanted["train"] = sets.pool
    for name, ids in wanted.items():
        unknown = ids[manifest.labels[manifest.rows_of(ids)] < 0]
        if len(unknown):
            raise DatasetError(
                f"{len(unknown)} {name} samples have no label, first {unknown[0]!r}; "
                "oracle: {name: people} can label the pool, the other splits must be labelled"
            )


def _because(dropped: Mapping[str, int]) -> str:
    reasons = [f"{count} {reason}" for reason, count in dropped.items() if count]
    return f" ({', '.join(reasons)} dropped)" if reasons else ""
