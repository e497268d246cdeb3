"""Pretraining by itself, ahead of the experiments that will use the encoder."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path

from al_orchestrator.checking import checked_data
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.controller import Blind, Watcher
from al_orchestrator.controller.corpus import corpus_of
from al_orchestrator.controller.pretraining import recipe_for, watched_by
from al_orchestrator.encoder_store import EncoderStore, Recipe, StoredEncoder
from al_orchestrator.errors import ConfigError
from al_orchestrator.executors import Executor
from al_orchestrator.executors.base import Job
from al_orchestrator.executors.together import submit_together
from al_orchestrator.experiment import LazyExecutor
from al_orchestrator.run_dir import Workspace
from trainers import Encoder, Pretrainer, PretrainReport, PretrainTask
from trainers.pretraining import HISTORY_FILE

logger = logging.getLogger(__name__)

_POLL_S = 0.25
_OWNER = "by-hand"


def pretrain(
    config: ExperimentConfig, root: str | Path = "runs", *, watcher: Watcher | None = None
) -> tuple[StoredEncoder, bool]:
    """The encoder of an experiment, and whether it had to be made.

    Every experiment with the same images, encoder, method and seed will find it. Killed, it goes on
    at its last epoch.

    Raises:
        ConfigError: The experiment pretrains nothing, or by a method that reads labels.
        JobFailed: The pretraining failed.
    """
    workspace = Workspace(Path(root).resolve())
    encoder, method = _asked_for(config)
    data, splits = checked_data(config, workspace)
    corpus = corpus_of(config, data, splits, workspace.root)
    recipe = recipe_for(encoder, seed=config.seed, corpus=corpus, labelled=None)
    store = EncoderStore(workspace.encoders)
    with store.held(recipe.key):
        found = store.find(recipe.key)
        if found is not None:
            return found, False
        executor = LazyExecutor(config)
        try:
            task = PretrainTask(
                images=corpus.images,
                rows=corpus.rows,
                seed=recipe.seed,
                out_dir=_new_attempt(store, recipe),
                cache_dir=workspace.encoders,
                device=executor().device,
                resume_from=_last_attempt(store, recipe, method),
                watched=watched_by(method, data, splits),
            )
            report = _run(executor(), encoder, method, task, watcher or Blind())
        finally:
            executor.close()
        return store.publish(recipe, report, images=len(task.rows), labels=0), True


def _asked_for(config: ExperimentConfig) -> tuple[Encoder, Pretrainer]:
    encoder = config.trainer.pretraining()
    if encoder is None or encoder.pretrain is None:
        raise ConfigError(
            f"{config.name} pretrains nothing; give its encoder a method, as in "
            "--set trainer.encoder.pretrain.name=simclr"
        )
    if encoder.pretrain.reads_labels:
        raise ConfigError(
            f"{encoder.pretrain.name} learns from the labels of the seed set; `alo run` pretrains "
            "once these are answered, and `alo encoders evaluate --encoder KEY` judges what it made"
        )
    return encoder, encoder.pretrain


def _new_attempt(store: EncoderStore, recipe: Recipe) -> Path:
    number = 1
    while (folder := store.folder(recipe.key) / f"{_OWNER}.attempt-{number}").exists():
        number += 1
    folder.mkdir(parents=True)
    return folder


def _last_attempt(store: EncoderStore, recipe: Recipe, method: Pretrainer) -> Path | None:
    left = reversed(store.attempts(recipe.key))
    return next((folder for folder in left if method.can_resume(folder)), None)


def _run(
    executor: Executor, encoder: Encoder, method: Pretrainer, task: PretrainTask, watcher: Watcher
) -> PretrainReport:
    logger.info("pretraining %s by %s: %s", encoder.name, method.name, executor.describe())
    if method.batch_size > len(task.rows):
        logger.warning(
            "batch_size %s is more than the %s images: every epoch is one step of all of them",
            f"{method.batch_size:,}",
            f"{len(task.rows):,}",
        )
    watcher.began(0, "pretrain")
    function, tasks = partial(method.pretrain, encoder), task.shared_by(method.workers)
    job = submit_together(executor, function, tasks, task.out_dir)
    try:
        return _wait(job, task.out_dir / HISTORY_FILE, watcher)
    except BaseException:
        job.cancel()
        raise
    finally:
        watcher.ended()


def _wait(job: Job[PretrainReport], history: Path, watcher: Watcher) -> PretrainReport:
    while True:
        try:
            return job.result(timeout_s=_POLL_S)
        except TimeoutError:
            try:
                last = json.loads(history.read_text(encoding="utf-8").splitlines()[-1])
            except (OSError, IndexError, ValueError):  # not there yet, or half a line
                continue
            watcher.progressed(last["epoch"], last["total_epochs"], f"loss {last['loss']:.3f}")
