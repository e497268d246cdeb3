"""What an encoder is worth by itself: classes by neighbours and by a linear head."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from al_orchestrator.checking import checked_data
from al_orchestrator.config import ExperimentConfig
from al_orchestrator.controller import Watcher
from al_orchestrator.encoder_store import EncoderStore
from al_orchestrator.errors import ConfigError
from al_orchestrator.experiment import LazyExecutor
from al_orchestrator.pretraining import pretrain
from al_orchestrator.run_dir import Workspace
from al_orchestrator.seeds import derive_rng
from al_orchestrator.splits import examples
from trainers import Encoder, EncoderEvaluation, EvaluationTask, Images, Judgement, evaluate_encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """How an encoder was judged, and with whose labels."""

    encoder: str  # what it is, for people
    labelled: int  # of the pool, looked at
    validation: int
    test: int
    judgements: tuple[Judgement, ...]


def evaluate(
    config: ExperimentConfig,
    root: str | Path = "runs",
    *,
    settings: EncoderEvaluation,
    key: str | None = None,
    labels: int | None = None,
    watcher: Watcher | None = None,
) -> Evaluation:
    """Judges the encoder of an experiment, with labels its runs never see.

    Args:
        config: Gives the data, the seed, and the encoder.
        root: The workspace.
        settings: What is measured.
        key: The beginning of the key of another encoder of the workspace.
        labels: Of the pool, drawn at random by the seed; all of them if not given. The validation
            set, which chooses, is the experiment's own.
        watcher: Follows the pretraining of an encoder that is not there yet.

    Raises:
        ConfigError: There is no encoder, it is of another network, or the pool has fewer labels.
        JobFailed: Pretraining or judging failed.
    """
    workspace = Workspace(Path(root).resolve())
    data, splits = checked_data(config, workspace)
    encoder, words = _encoder(config, workspace, key, watcher)
    manifest = data.manifest
    labelled = splits.pool[manifest.labels[manifest.rows_of(splits.pool)] >= 0]
    if labels is not None:
        if not 0 < labels <= len(labelled):
            raise ConfigError(f"the pool has {len(labelled):,} labels; {labels:,} cannot be drawn")
        drawn = derive_rng(config.seed, 0, "evaluate").permutation(len(labelled))[:labels]
        labelled = np.sort(labelled[drawn])
    executor = LazyExecutor(config)
    try:
        task = EvaluationTask(
            images=Images(path=data.images, mean=manifest.mean, std=manifest.std),
            labelled=examples(manifest, labelled),
            validation=examples(manifest, splits.validation),
            test=examples(manifest, splits.test),
            num_classes=len(manifest.classes),
            seed=config.seed,
            device=executor().device,
            cache_dir=workspace.encoders,
        )
        logger.info("judging %s: %s", words, executor().describe())
        log = workspace.encoders / "evaluation.log"
        found = executor().submit(partial(evaluate_encoder, encoder, settings), task, log=log)
        judgements = tuple(found.result())
    finally:
        executor.close()
    return Evaluation(words, len(labelled), len(splits.validation), len(splits.test), judgements)


def _encoder(
    config: ExperimentConfig, workspace: Workspace, key: str | None, watcher: Watcher | None
) -> tuple[Encoder, str]:
    """The encoder with its weights in a file, or none where it is not trained; and what it is."""
    if key is not None:
        stored = EncoderStore(workspace.encoders).named(key)
        fields = {**stored.recipe.encoder, "weights": stored.path}
        return Encoder.model_validate(fields), f"encoder {stored.key[:12]}"
    encoder = config.trainer.starting_encoder()
    if encoder is None:
        raise ConfigError(f"trainer {config.trainer.name} has no encoder to judge")
    if encoder.pretrain is None:
        source = encoder.weights or "never trained"
        return encoder, f"{encoder.name}, {source}"
    stored, _ = pretrain(config, workspace.root, watcher=watcher)
    return encoder.pretrained(stored.path), f"encoder {stored.key[:12]}"
