"""Logistic regression on cached embeddings: a round of training in a second or so."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits
from torch import Tensor

from trainers.base import (
    Examples,
    Output,
    Predictions,
    PredictTask,
    TrainingError,
    TrainReport,
    TrainTask,
)
from trainers.deep import checkpoints
from trainers.deep.attacks import flip_distances
from trainers.deep.compute import repeatable
from trainers.deep.fit import CHECKPOINT, check_task, under
from trainers.deep.frozen import Frozen, Place, freeze, write_encoder_embeddings
from trainers.deep.logistic import Solution, fit_logistic
from trainers.deep.networks import Network, encoder_digest
from trainers.deep.outputs import (
    Floats,
    blocks_of,
    check_classes,
    path_of,
    rows_and_others,
    shapes_of_outputs,
    write_head,
    write_test_predictions,
    writing,
)
from trainers.deep.progress import EPOCHS_LOG
from trainers.deep.saliency import saliency_maps
from trainers.deep.stopping import Epoch
from trainers.files import replacing
from trainers.linear_probe import LinearProbe
from trainers.metrics import Counts, classification_metrics


def fit_probe(trainer: LinearProbe, task: TrainTask) -> TrainReport:
    """Fits the head to its optimum, evaluates, and leaves the head in `task.out_dir`.

    Raises:
        TrainingError: See `Trainer.fit`.
    """
    check_task(task)
    started = time.perf_counter()
    frozen = _freeze(trainer, task)
    features = frozen.features.values
    solution = _solve(trainer, task, features)
    weight, bias = solution.weight.astype(np.float32), solution.bias.astype(np.float32)
    fitted = time.perf_counter()
    metrics, confusion, test_log_probs = _evaluate(task, features, weight, bias)
    metrics["train/loss"] = solution.loss
    digest = _save_head(task, frozen, weight, bias)
    _log_the_fit(task, solution, metrics["train/accuracy"], time.perf_counter() - started)
    return TrainReport(
        checkpoint=task.out_dir / CHECKPOINT,
        checkpoint_digest=digest,
        initial_digest=checkpoints.digest_of_weights(frozen.network.state_dict()),
        encoder_digest=encoder_digest(frozen.network),
        metrics=metrics,
        confusion=confusion,
        epochs=1,
        steps=solution.iterations,
        stop_reason="the optimum" if solution.has_converged else "the cap of iterations",
        seconds={"fit": fitted - started, "evaluate": time.perf_counter() - fitted},
        notes=frozen.notes,
        has_converged=solution.has_converged,
        test_predictions=write_test_predictions(task, test_log_probs),
    )


def predict_probe(trainer: LinearProbe, task: PredictTask) -> Predictions:
    """Computes `task.outputs` from cached embeddings and the head of `task.checkpoint`.

    Raises:
        TrainingError: The checkpoint is of another encoder, or has other classes.
    """
    started = time.perf_counter()
    frozen = _freeze(trainer, task)
    files: dict[Output, Path] = {}
    if "encoder_embeddings" in task.outputs:
        files["encoder_embeddings"] = write_encoder_embeddings(task, frozen.features)
    if task.checkpoint is not None and task.outputs - {"encoder_embeddings"}:
        files |= _of_the_head(task, task.checkpoint, frozen)
    fixed: tuple[Output, ...] = ("embeddings", "encoder_embeddings")
    return Predictions(
        files=files,
        seconds={"predict": time.perf_counter() - started},
        keys={name: frozen.features.key for name in fixed if name in files},
    )


def _of_the_head(task: PredictTask, checkpoint: Path, frozen: Frozen) -> dict[Output, Path]:
    weight, bias = _load_head(task, checkpoint, frozen.network)
    shapes = shapes_of_outputs(task, frozen.network.embedding_width, 0)
    with writing(task, shapes) as arrays:
        _fill_embedded(arrays, task, frozen.features.values, weight, bias)
        if "flip_distances" in arrays:
            _complete(frozen.network, weight, bias)
            with repeatable(frozen.mode, task.device):
                arrays["flip_distances"][:] = flip_distances(task, frozen.network, frozen.mode)
        if "saliency" in arrays:
            _complete(frozen.network, weight, bias)
            with repeatable(frozen.mode, task.device):
                arrays["saliency"][:] = saliency_maps(task, frozen.network, frozen.mode)
    files = {name: path_of(task, name) for name in shapes}
    if "head" in task.outputs:
        files["head"] = write_head(task, weight, bias)
    return files


def _fill_embedded(
    arrays: Mapping[Output, Floats],
    task: PredictTask,
    features: Floats,
    weight: Floats,
    bias: Floats,
) -> None:
    rows = rows_and_others(task)
    for block in blocks_of(len(rows) if arrays.keys() & {"embeddings", "log_probs"} else 0):
        embeddings = features[rows[block]]
        if "embeddings" in arrays:
            arrays["embeddings"][block] = embeddings
        if "log_probs" in arrays:
            arrays["log_probs"][block] = _log_probs(embeddings, weight, bias)


def _complete(network: Network, weight: Floats, bias: Floats) -> None:
    """Gives the frozen encoder its head, for what is told by gradients through both."""
    linear = network.head.linear
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))


def _freeze(trainer: LinearProbe, task: TrainTask | PredictTask) -> Frozen:
    place = Place(task.images, task.num_classes, task.device, task.cache_dir)
    return freeze(trainer.encoder, trainer.compute, place, trainer.encoder_seed)


def _solve(trainer: LinearProbe, task: TrainTask, features: Floats) -> Solution:
    """The optimum over standardised features, as a head for plain ones."""
    mean, std = _scales(task, features)
    standardised = (features[task.labelled.rows] - mean) / std
    solution = fit_logistic(
        standardised,
        task.labelled.labels,
        task.num_classes,
        l2=trainer.l2,
        max_iterations=trainer.max_iterations,
    )
    weight = solution.weight / std
    return replace(solution, weight=weight, bias=solution.bias - weight @ mean)


def _scales(task: TrainTask, features: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation (D,) over all images outside the validation and test sets.

    No label takes part, so the pool may; the scales are then the same in every round.
    """
    is_ours = np.ones(len(features), dtype=bool)
    is_ours[task.validation.rows] = False
    is_ours[task.test.rows] = False
    total = squares = np.zeros(features.shape[1])
    for block in blocks_of(len(features)):
        ours = features[block][is_ours[block]].astype(np.float64)
        total, squares = total + ours.sum(axis=0), squares + np.square(ours).sum(axis=0)
    mean = total / is_ours.sum()
    std = np.sqrt((squares / is_ours.sum() - mean**2).clip(0))
    # A unit that never answers carries nothing; dividing by its deviation would be noise.
    std[std < 1e-6 * max(std.max(), 1e-30)] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)


def _log_probs(embeddings: Floats, weight: Floats, bias: Floats) -> Floats:
    # One thread, so that the last bits do not hang on the worker's cores.
    with threadpool_limits(limits=1):
        logits = embeddings @ weight.T + bias
    return cast("Floats", log_softmax(logits, axis=1).astype(np.float32))


def _evaluate(
    task: TrainTask, features: Floats, weight: Floats, bias: Floats
) -> tuple[dict[str, float], Counts, Floats]:
    """Metrics; confusion matrix and log-probabilities of the test set.

    The one epoch is the best one too.
    """

    def of(examples: Examples) -> tuple[dict[str, float], Counts, Floats]:
        log_probs = _log_probs(features[examples.rows], weight, bias)
        return *classification_metrics(log_probs, examples.labels), log_probs

    validation, _, _ = of(task.validation)
    test, confusion, log_probs = of(task.test)
    scored = under("validation", validation) | under("test", test)
    best = under("best", scored) | {"best/epoch": 1.0} if validation else {}
    metrics = {"train/accuracy": of(task.labelled)[0]["accuracy"]} | scored | best
    return metrics, confusion, log_probs


def _save_head(task: TrainTask, frozen: Frozen, weight: Floats, bias: Floats) -> str:
    """Writes the head alone: the encoder is a file or a seed already."""
    weights: dict[str, Tensor] = {
        "head.linear.weight": torch.from_numpy(weight),
        "head.linear.bias": torch.from_numpy(bias),
    }
    digest = checkpoints.digest_of_weights(weights)
    meta = {
        "origin": dict(task.origin),
        "probe": asdict(frozen.network.plan),
        "encoder_digest": encoder_digest(frozen.network),
        "labelled": len(task.labelled),
        "digest": digest,
    }
    checkpoints.save(task.out_dir / CHECKPOINT, {"weights": weights, "meta": meta})
    return digest


def _load_head(task: PredictTask, checkpoint: Path, network: Network) -> tuple[Floats, Floats]:
    content = checkpoints.load(checkpoint)
    meta, weights = content.get("meta"), content.get("weights")
    if not isinstance(meta, dict) or not isinstance(weights, dict) or "probe" not in meta:
        raise TrainingError(
            f"{checkpoint} is not a checkpoint of a linear probe; predict with the trainer "
            "that wrote it"
        )
    if meta["encoder_digest"] != encoder_digest(network):
        raise TrainingError(
            f"{checkpoint} was fitted on another encoder (digest {meta['encoder_digest']}); "
            "keep encoder.weights and encoder_seed as they were"
        )
    check_classes(task, len(weights["head.linear.bias"]))
    return weights["head.linear.weight"].numpy(), weights["head.linear.bias"].numpy()


def _log_the_fit(task: TrainTask, solution: Solution, accuracy: float, seconds: float) -> None:
    """One line, as of one epoch, for whoever reads along."""
    epoch = Epoch(
        epoch=1,
        total_epochs=1,
        loss=solution.loss,
        accuracy=accuracy,
        lr=0.0,
        seconds=seconds,
        steps=solution.iterations,
    )
    with replacing(task.out_dir / EPOCHS_LOG) as temporary:
        temporary.write_text(json.dumps(asdict(epoch)) + "\n", encoding="utf-8")
