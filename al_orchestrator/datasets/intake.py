"""Checks samples as a source yields them, and keeps all of them but the pixels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, get_args

import numpy as np

from al_orchestrator.datasets.base import Record, Skipped, Split
from al_orchestrator.datasets.manifest import ManifestBuilder, hash_image
from al_orchestrator.errors import DatasetError

logger = logging.getLogger(__name__)

_NAMED_SKIPS = 10


@dataclass
class Intake:
    """Takes samples in one by one; `finish` checks what only the whole can tell."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int] = (0, 0, 0)  # of the first image, and so of all
    seen: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.builder = ManifestBuilder(self.classes)
        self._codes: Mapping[str, int] = {name: code for code, name in enumerate(self.classes)}
        self._known: set[str] = set()

    def take(self, item: Record | Skipped, spool: BinaryIO) -> None:
        """Appends the pixels of a usable sample to `spool`.

        Raises:
            DatasetError: Its id is taken, its class unknown, its shape another, or votes are
                missing or make no sense.
        """
        self.seen += 1
        if isinstance(item, Skipped):
            self.skipped[item.reason] += 1
            if self.skipped.total() <= _NAMED_SKIPS:
                logger.warning("skipped %s: %s", item.source, item.reason)
            return
        self._check_names(item)
        self._check_image(item)
        self._check_votes(item)
        self._known.add(item.id)
        self.builder.ids.append(item.id)
        self.builder.splits.append(item.split)
        self.builder.labels.append(-1 if item.label is None else self._codes[item.label])
        self.builder.hashes.append(hash_image(item.image))
        if item.votes is not None:
            self.builder.votes.append(item.votes)
        spool.write(item.image.tobytes())

    def finish(self) -> None:
        """Checks that train and test are there, and that train shows every class.

        A source without classes has no labels, and so nothing to be tested on.

        Raises:
            DatasetError: One is missing; the message names it.
        """
        splits = Counter(self.builder.splits)
        for split in ("train", "test") if self.classes else ("train",):
            if not splits[split]:
                raise DatasetError(
                    f"split {split!r} has no usable image ({self.skipped.total()} were skipped); "
                    "an experiment needs images to learn from and images to be tested on"
                )
        pairs = zip(self.builder.splits, self.builder.labels, strict=True)
        trained = {label for split, label in pairs if split == "train"}
        empty = [name for name, code in self._codes.items() if code not in trained]
        # A pool with unknown labels cannot tell which classes it holds.
        if empty and -1 not in trained:
            raise DatasetError(
                f"classes without a training image: {', '.join(empty)}; a learner cannot be asked "
                "for what it never sees, so take them out of the source or of the class list"
            )

    def _check_names(self, record: Record) -> None:
        if record.id in self._known or not record.id:
            raise DatasetError(f"id {record.id!r} occurs twice or is empty; ids must be unique")
        if record.split not in get_args(Split):
            expected = ", ".join(get_args(Split))
            raise DatasetError(f"{record.id}: split {record.split!r} is none of {expected}")
        if record.label is not None and record.label not in self._codes:
            expected = ", ".join(self.classes)
            raise DatasetError(f"{record.id}: class {record.label!r} is none of {expected}")

    def _check_image(self, record: Record) -> None:
        shape, kind = record.image.shape, record.image.dtype
        if kind != np.uint8 or len(shape) != 3 or shape[2] not in (1, 3):
            raise DatasetError(
                f"{record.id}: the image is {kind} {shape}; it must be uint8 (H, W, Ch), Ch 1 or 3"
            )
        if not len(self.builder):
            self.shape = (shape[0], shape[1], shape[2])
        if shape != self.shape:
            raise DatasetError(
                f"{record.id} is {shape}, the images before it {self.shape}; all must have one "
                "shape, so set `image_size` or resize them"
            )

    def _check_votes(self, record: Record) -> None:
        count = len(self.builder)
        if (record.votes is not None) != bool(self.builder.votes) and count:
            raise DatasetError(f"{record.id}: some samples have votes and others have none")
        if record.votes is None:
            return
        if len(record.votes) != len(self.classes) or min(record.votes) < 0 or not any(record.votes):
            raise DatasetError(
                f"{record.id}: votes {list(record.votes)} are not {len(self.classes)} counts, one "
                "of each class, with at least one vote"
            )
