"""What a learner says of rows of the image file, written as whole files of float32."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainers.base import Output, Predictions, PredictTask
from trainers.deep.attacks import flip_distances
from trainers.deep.compute import Mode, repeatable
from trainers.deep.frozen import Place, freeze, write_encoder_embeddings
from trainers.deep.images import Normaliser, Pixels, Viewed
from trainers.deep.nets.heads import LinearHead
from trainers.deep.networks import Network, load_learner
from trainers.deep.outputs import (
    OF_OTHERS_TOO,
    Floats,
    check_classes,
    path_of,
    rows_and_others,
    shapes_of_outputs,
    write_head,
    writing,
)
from trainers.deep.saliency import saliency_maps
from trainers.deep.scoring import Scored, score
from trainers.deep.seeding import generator
from trainers.deep.views import views_of
from trainers.fer_classifier import FERClassifier


def predict_classifier(trainer: FERClassifier, task: PredictTask) -> Predictions:
    """Computes `task.outputs` with the network of `task.checkpoint` and the trainer's encoder file.

    Raises:
        TrainingError: The checkpoint is not a learner's, or has other classes; or the encoder's
            embeddings are asked for and it has no file.
    """
    started = time.perf_counter()
    files: dict[Output, Path] = {}
    keys: dict[Output, str] = {}
    if "encoder_embeddings" in task.outputs:
        files["encoder_embeddings"], keys["encoder_embeddings"] = _of_the_encoder(trainer, task)
    if task.checkpoint is not None and task.outputs - {"encoder_embeddings"}:
        files |= _of_the_learner(trainer, task, task.checkpoint)
    seconds = {"predict": time.perf_counter() - started}
    return Predictions(files=files, seconds=seconds, keys=keys)


def _of_the_encoder(trainer: FERClassifier, task: PredictTask) -> tuple[Path, str]:
    """The file of its embeddings, and the name of the function they are."""
    place = Place(task.images, task.num_classes, task.device, task.cache_dir)
    features = freeze(trainer.encoder, trainer.compute, place).features
    return write_encoder_embeddings(task, features), features.key


def _of_the_learner(
    trainer: FERClassifier, task: PredictTask, checkpoint: Path
) -> dict[Output, Path]:
    network, meta = load_learner(checkpoint)
    check_classes(task, network.plan.num_classes)
    mode = Mode(**cast("dict[str, Any]", meta["mode"]))
    shapes = shapes_of_outputs(task, network.embedding_width, trainer.posterior_draws)
    with repeatable(mode, task.device):
        mode.place(network, task.device)
        with writing(task, shapes) as arrays:
            _fill_scored(arrays, trainer, task, network, mode)
            if "flip_distances" in arrays:
                arrays["flip_distances"][:] = flip_distances(task, network, mode)
            if "saliency" in arrays:
                arrays["saliency"][:] = saliency_maps(task, network, mode)
    files = {name: path_of(task, name) for name in shapes}
    if "head" in task.outputs:
        linear = network.head.linear
        files["head"] = write_head(task, _array(linear.weight), _array(linear.bias))
    return files


def _fill_scored(
    arrays: Mapping[Output, Floats],
    trainer: FERClassifier,
    task: PredictTask,
    network: Network,
    mode: Mode,
) -> None:
    """Fills what one pass over the images tells."""
    if not arrays.keys() - {"flip_distances", "saliency"}:
        return
    rows = rows_and_others(task) if arrays.keys() & OF_OTHERS_TOO else task.rows
    pixels = Pixels(task.images, rows, task.device)
    views = views_of(trainer.augmentation, pixels.shape[:2])
    seen = Viewed(pixels, views, generator(task.seed, "scored views")) if task.augmented else pixels
    normalise = Normaliser(task.images, task.device)
    for block in score(network, seen, normalise, mode, task.device):
        _fill(arrays, block, network.head, task.seed)


def _fill(arrays: Mapping[Output, Floats], scored: Scored, head: LinearHead, seed: int) -> None:
    if "log_probs" in arrays:
        arrays["log_probs"][scored.block] = _array(scored.log_probs)
    if "embeddings" in arrays:
        arrays["embeddings"][scored.block] = _array(scored.embeddings)
    if "mc_log_probs" in arrays:
        # Others come last and have no draws, so the array may end within the block.
        draws = arrays["mc_log_probs"][scored.block]
        embeddings = scored.embeddings[: len(draws)]
        for draw in range(draws.shape[1]):
            draws[:, draw] = _array(_posterior_log_probs(head, embeddings, seed, draw))


def _posterior_log_probs(head: LinearHead, embeddings: Tensor, seed: int, draw: int) -> Tensor:
    """(B, C) of one posterior draw.

    The head's dropout is the only one, so the encoder runs once for all draws.
    """
    with torch.no_grad(), head.dropout.posterior_draw(embeddings.shape[1], seed, draw):
        logits: Tensor = head(embeddings)
    return logits.log_softmax(dim=1)


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().float().cpu().numpy()
