"""Pretrained encoders of a workspace: one for the same images, method and seed, trained once.

::

    <root>/encoders/
        <key>/
            lock                    held by whoever pretrains it
            <owner>.attempt-2/      a worker's own folder
            encoder.pt              the file that `Encoder.weights` reads
            metrics.jsonl           a line an epoch
            encoder.json            what it is; written last: without it there is no encoder

The key is a digest of all that decides the weights: the images themselves, the network, the method
with all its settings, the seed and, where a method reads labels, the labels. An encoder is never
written again; `alo gc` and people may delete its folder, and it is then made anew.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from al_orchestrator.errors import ConfigError
from al_orchestrator.files import digest_of_file, digest_of_json, is_intact, replacing, write_text
from trainers.base import Examples
from trainers.encoders import Encoder
from trainers.pretraining import ENCODER_FILE, HISTORY_FILE, PretrainReport

logger = logging.getLogger(__name__)

LAW = 1
"""Raised whenever the same key comes to give other weights."""

_DESCRIPTION = "encoder.json"


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of an encoder, as plain JSON."""

    encoder: Mapping[str, Any]  # name and width
    method: Mapping[str, Any]  # the pretrainer's fields
    seed: int
    images: str  # digest of the pool's images, in their order
    labels: str | None  # digest of rows and labels, for a method that reads them

    @property
    def key(self) -> str:
        return digest_of_json({"law": LAW, **asdict(self)})[:24]


def recipe_of(
    encoder: Encoder, *, seed: int, images: Mapping[str, Any], labelled: Examples | None
) -> Recipe:
    """The recipe of an encoder's pretraining.

    Args:
        encoder: With its pretraining.
        seed: Of the experiment; the pretraining may have its own.
        images: Hashes, shape and normalisation of the pool's images, as plain JSON.
        labelled: What a method that reads labels is handed.
    """
    method = encoder.pretrain
    assert method is not None  # the caller asks for encoders that are pretrained
    labels = None
    if labelled is not None:
        labels = digest_of_json([labelled.rows.tolist(), labelled.labels.tolist()])
    return Recipe(
        encoder={"name": encoder.name, "width": encoder.width},
        method=method.settings(),
        seed=seed if method.seed is None else method.seed,
        images=digest_of_json(images),
        labels=labels,
    )


@dataclass(frozen=True)
class StoredEncoder:
    """An encoder that is there."""

    key: str
    folder: Path
    digest: str  # of its weights
    file_digest: str  # of its file
    recipe: Recipe
    metrics: Mapping[str, float]  # of the last epoch
    epochs: int
    steps: int
    seconds: float
    initial_digest: str
    images: int
    labels: int
    created: str  # ISO 8601, UTC
    notes: Mapping[str, str]

    @property
    def path(self) -> Path:
        return self.folder / ENCODER_FILE

    @property
    def is_intact(self) -> bool:
        return is_intact(self.path, self.file_digest)

    def history(self) -> list[dict[str, float]]:
        """One record an epoch."""
        lines = (self.folder / HISTORY_FILE).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "folder": str(self.folder)}


class EncoderStore:
    """The folder of encoders."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        return self.root / key

    def find(self, key: str) -> StoredEncoder | None:
        """The encoder of this key, if it is there and whole."""
        path = self.folder(key) / _DESCRIPTION
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            recipe = Recipe(**fields.pop("recipe"))
            stored = StoredEncoder(folder=path.parent, recipe=recipe, **fields)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            logger.warning(
                "%s cannot be read and does not count, alo pretrain makes it anew: %s", path, error
            )
            return None
        if not stored.is_intact:
            logger.warning(
                "%s is not what was written and does not count; alo pretrain makes it anew",
                stored.path,
            )
            return None
        return stored

    def named(self, start: str) -> StoredEncoder:
        """The one encoder whose key begins so.

        Raises:
            ConfigError: There is none, or there are several.
        """
        found = [stored for stored in self.entries() if stored.key.startswith(start)]
        if len(found) == 1:
            return found[0]
        keys = ", ".join(stored.key[:12] for stored in (found or self.entries()))
        what = f"{len(found)} encoders begin" if found else "no encoder begins"
        raise ConfigError(f"{what} with {start!r} in {self.root}; there are: {keys or 'none'}")

    def entries(self) -> list[StoredEncoder]:
        """Every encoder that is there, the newest first."""
        keys = sorted(path.parent.name for path in self.root.glob(f"*/{_DESCRIPTION}"))
        found = [stored for key in keys if (stored := self.find(key)) is not None]
        return sorted(found, key=lambda stored: stored.created, reverse=True)

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Keeps every other process from making this encoder; waits for one that does."""
        lock = self.folder(key) / "lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("another process pretrains encoder %s; waiting for it", key[:12])
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def attempts(self, key: str) -> list[Path]:
        """Folders that workers left on the way to this encoder, the newest last."""
        found = self.folder(key).glob("*.attempt-*")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)

    def publish(
        self, recipe: Recipe, report: PretrainReport, *, images: int, labels: int
    ) -> StoredEncoder:
        """Makes what a worker left the encoder of its key."""
        folder = self.folder(recipe.key)
        for name in (ENCODER_FILE, HISTORY_FILE):
            with replacing(folder / name) as temporary:
                shutil.copyfile(report.encoder.with_name(name), temporary)
        stored = StoredEncoder(
            key=recipe.key,
            folder=folder,
            digest=report.digest,
            file_digest=digest_of_file(folder / ENCODER_FILE),
            recipe=recipe,
            metrics=dict(report.metrics),
            epochs=report.epochs,
            steps=report.steps,
            seconds=report.seconds,
            initial_digest=report.initial_digest,
            images=images,
            labels=labels,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            notes=dict(report.notes),
        )
        described = {k: v for k, v in asdict(stored).items() if k != "folder"}
        write_text(folder / _DESCRIPTION, json.dumps(described, indent=1))
        self.tidy(recipe.key)
        return stored

    def tidy(self, key: str) -> None:
        """Removes what workers left on the way to an encoder that is there."""
        for attempt in self.attempts(key):
            shutil.rmtree(attempt, ignore_errors=True)
