"""The encoder a run starts from: found in the workspace, or pretrained there first.

It is made once, before whatever first needs it: the seed set, if that looks at the encoder's
embeddings, else the training of round 0. A method that reads labels is handed those of the seed
set, and none else.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from al_orchestrator.controller.corpus import Corpus
from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.controller.telling import tell_encoder
from al_orchestrator.controller.workers import Place, Workers
from al_orchestrator.datasets.base import PackedDataset
from al_orchestrator.encoder_store import EncoderStore, Recipe, StoredEncoder, recipe_of
from al_orchestrator.errors import InvariantBroken, LedgerError
from al_orchestrator.pool import Pool
from al_orchestrator.splits import Splits, examples
from trainers import AnyTrainer, Encoder, Examples, PretrainTask
from trainers.base import Trainer
from trainers.pretraining import Pretrainer, nobody

logger = logging.getLogger(__name__)


def recipe_for(encoder: Encoder, *, seed: int, corpus: Corpus, labelled: Examples | None) -> Recipe:
    """The recipe of an encoder on these images; validation and test set are unseen."""
    rows = corpus.rows
    images = {
        "hashes": corpus.manifest.image_hashes[rows].tolist(),
        "shape": list(corpus.manifest.image_shape),
        "mean": list(corpus.images.mean),
        "std": list(corpus.images.std),
    }
    if labelled is not None:
        # Positions in the pool: rows of the file may differ where the images are the same.
        labelled = Examples(rows=np.searchsorted(rows, labelled.rows), labels=labelled.labels)
    return recipe_of(encoder, seed=seed, images=images, labelled=labelled)


def watched_by(method: Pretrainer, data: PackedDataset, splits: Splits) -> Examples:
    """The validation set for a method that is watched, else nobody."""
    if not method.watch_every:
        return nobody()
    return examples(data.manifest, splits.validation)


def encoder_on_record(pool: Pool, store: EncoderStore) -> StoredEncoder | None:
    """The encoder a run started from, where it has one and the workspace still holds it."""
    recorded = pool.stage(0, "pretrain")
    return None if recorded is None else store.find(recorded["key"])


class Pretraining:
    """Resolves the trainer of a run: its encoder's pretraining becomes a file."""

    def __init__(self, rooms: Rooms, workers: Workers) -> None:
        self._rooms = rooms
        self._workers = workers
        self._store = EncoderStore(rooms.encoders)
        self._ready: Trainer | None = None

    def trainer(self) -> Trainer:
        """The trainer as rounds use it; pretrains its encoder first if nobody has yet.

        Raises:
            JobFailed: The pretraining failed.
            InvariantBroken: The encoder came out other than this run has it on record.
            LedgerError: The recorded encoder is another one.
        """
        if self._ready is None:
            configured: AnyTrainer = self._rooms.config.trainer
            encoder = configured.pretraining()
            if encoder is None:
                self._ready = configured
            else:
                self._ready = configured.pretrained(self._stored(encoder).path)
        return self._ready

    def expected_digest(self) -> str | None:
        """What `TrainReport.encoder_digest` has to be in every round; None without pretraining."""
        recorded = self._rooms.pool.stage(0, "pretrain")
        if recorded is None:
            return None
        return self._rooms.config.trainer.starts_from(recorded["digest"])

    def _stored(self, encoder: Encoder) -> StoredEncoder:
        recorded = encoder_on_record(self._rooms.pool, self._store)
        if recorded is not None:  # whatever it was learned from is needed no more
            self._record(recorded, 0.0, is_new=False)
            return recorded
        started = time.monotonic()
        labelled = self._labelled(encoder)
        recipe = recipe_for(
            encoder,
            seed=self._rooms.config.seed,
            corpus=self._rooms.corpus(),
            labelled=labelled,
        )
        with self._store.held(recipe.key):
            stored = self._store.find(recipe.key)
            is_new = stored is None
            if stored is None:
                stored = self._pretrain(encoder, recipe, labelled)
            self._store.tidy(recipe.key)
        self._record(stored, time.monotonic() - started, is_new=is_new)
        return stored

    def _labelled(self, encoder: Encoder) -> Examples | None:
        """The seed set's labels, for a method that reads labels."""
        if encoder.pretrain is None or not encoder.pretrain.reads_labels:
            return None
        ids, labels = self._rooms.pool.labelled(0)
        return Examples(rows=self._rooms.data.manifest.rows_of(ids), labels=labels)

    def _pretrain(
        self, encoder: Encoder, recipe: Recipe, labelled: Examples | None
    ) -> StoredEncoder:
        method = encoder.pretrain
        assert method is not None
        corpus = self._rooms.corpus()

        def task(out_dir: Path, resume_from: Path | None) -> PretrainTask:
            return PretrainTask(
                images=corpus.images,
                rows=corpus.rows,
                seed=recipe.seed,
                out_dir=out_dir,
                cache_dir=self._rooms.encoders,
                device=self._rooms.executor().device,
                resume_from=resume_from,
                labelled=nobody() if labelled is None else labelled,
                watched=watched_by(method, self._rooms.data, self._rooms.splits),
            )

        provenance = self._rooms.pool.provenance()
        assert provenance is not None  # founded before any step
        owner, folder = provenance.run_key[:8], self._store.folder(recipe.key)
        place = Place(
            folder=lambda attempt: folder / f"{owner}.attempt-{attempt}",
            earlier=lambda: self._store.attempts(recipe.key),
            can_resume=method.can_resume,
        )
        logger.info(
            "pretraining %s by %s on %s images, into %s",
            encoder.name,
            method.name,
            f"{len(corpus.rows):,}",
            folder,
        )
        pretrain = partial(method.pretrain, encoder)
        report = self._workers.run(
            0, "pretrain", pretrain, task, place, lambda whole: whole.shared_by(method.workers)
        )
        labels = 0 if labelled is None else len(labelled)
        return self._store.publish(recipe, report, images=len(corpus.rows), labels=labels)

    def _record(self, stored: StoredEncoder, seconds: float, *, is_new: bool) -> None:
        recorded = self._rooms.pool.stage(0, "pretrain")
        if recorded is None:
            result: dict[str, Any] = {
                "key": stored.key,
                "digest": stored.digest,
                "images": stored.images,
                "labels": stored.labels,
                "metrics": dict(stored.metrics),
                "epochs": stored.epochs,
            }
            with self._rooms.pool.commit() as entry:
                entry.end_attempt(0, "pretrain", "recorded")
                entry.stage(0, "pretrain", result, seconds if is_new else 0.0)
                tell_encoder(entry, stored)
            return
        if recorded["key"] != stored.key:
            raise LedgerError(
                f"this run started from encoder {recorded['key'][:12]}, and its recipe now asks "
                f"for {stored.key[:12]}: a newer program pretrains otherwise; go on with the one "
                "that started it, or start anew under another name"
            )
        if recorded["digest"] != stored.digest:
            raise InvariantBroken(
                f"encoder {stored.key[:12]} was made again and came out as {stored.digest[:12]}, "
                f"not as the {recorded['digest'][:12]} this run started from; restore "
                f"{stored.folder}, or start anew under another name"
            )
