"""Logistic regression on cached embeddings: a round of training in a second or so."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits
from torch import Tensor

from trainers.base import (
    Examples,
    Images,
    Predictions,
    PredictTask,
    TrainingError,
    TrainReport,
    TrainTask,
)
from trainers.deep import checkpoints
from trainers.deep.compute import Workload, choose_mode, hardware, repeatable
from trainers.deep.features import features_of
from trainers.deep.fit import CHECKPOINT, check_task, under
from trainers.deep.images import open_packed
from trainers.deep.logistic import Solution, fit_logistic
from trainers.deep.metrics import Counts, classification_metrics
from trainers.deep.networks import Network, encoder_digest, plan_network
from trainers.deep.predict import (
    check_classes,
    path_of,
    shapes_of_outputs,
    write_head,
    writing,
)
from trainers.deep.progress import EPOCHS_LOG
from trainers.deep.start import fresh_network
from trainers.deep.stopping import Epoch
from trainers.files import replacing
from trainers.linear_probe import LinearProbe

Floats = npt.NDArray[np.float32]

ROWS_AT_A_TIME = 2**15
MEASURED_BATCH = 64
"""Images at a time where the compute mode is measured: a probe has no batch size of its own."""


@dataclass(frozen=True, eq=False)
class Frozen:
    """An encoder and what it makes of all images of a file."""

    network: Network  # with a head of zeros
    features: Floats  # (R, D) memory map
    source: str
    notes: dict[str, str]


def fit_probe(trainer: LinearProbe, task: TrainTask) -> TrainReport:
    """Fits the head to its optimum, evaluates, and leaves the head in `task.out_dir`.

    Raises:
        TrainingError: See `Trainer.fit`.
    """
    check_task(task)
    started = time.perf_counter()
    frozen = _freeze(trainer, task.images, task.num_classes, task.device, task.cache_dir)
    solution = _solve(trainer, task, frozen.features)
    weight, bias = solution.weight.astype(np.float32), solution.bias.astype(np.float32)
    fitted = time.perf_counter()
    metrics, confusion = _evaluate(task, frozen.features, weight, bias)
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
    )


def predict_probe(trainer: LinearProbe, task: PredictTask) -> Predictions:
    """Computes `task.outputs` from cached embeddings and the head of `task.checkpoint`.

    Raises:
        TrainingError: The checkpoint is of another encoder, or has other classes.
    """
    started = time.perf_counter()
    frozen = _freeze(trainer, task.images, task.num_classes, task.device, task.cache_dir)
    weight, bias = _load_head(task, frozen.network)
    shapes = shapes_of_outputs(task, frozen.network.embedding_width, 0)
    with writing(task, shapes) as arrays:
        embeddings = frozen.features[task.rows]
        if "embeddings" in arrays:
            arrays["embeddings"][:] = embeddings
        if "log_probs" in arrays:
            arrays["log_probs"][:] = _log_probs(embeddings, weight, bias)
    files = {name: path_of(task, name) for name in shapes}
    if "head" in task.outputs:
        files["head"] = write_head(task, weight, bias)
    return Predictions(files=files, seconds={"predict": time.perf_counter() - started})


def _freeze(
    trainer: LinearProbe, images: Images, num_classes: int, device: str, cache_dir: Path
) -> Frozen:
    height, width, channels = open_packed(images).shape[1:]
    plan, imported = plan_network(
        trainer.encoder, image_channels=channels, num_classes=num_classes, dropout=0.0
    )
    network = fresh_network(plan, imported, trainer.encoder_seed)
    with torch.no_grad():
        network.head.linear.weight.zero_()
        network.head.linear.bias.zero_()
    # The number of classes is no part of the encoder, nor of what is known of it.
    workload = Workload(replace(plan, num_classes=2), (height, width), MEASURED_BATCH, device)
    mode = choose_mode(trainer.compute, workload, cache_dir)
    with repeatable(mode, device):
        mode.place(network, device)
        features = features_of(network, images, mode, device, cache_dir)
    source = str(imported.report) if imported else f"drawn from seed {trainer.encoder_seed}"
    notes = {
        "device": device,
        "hardware": hardware(device),
        "torch": torch.__version__,
        "precision": mode.precision,
        "channels_last": str(mode.channels_last),
        "threads": str(mode.threads),
        "weights": source,
    }
    return Frozen(network, features, source, notes)


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
    for start in range(0, len(features), ROWS_AT_A_TIME):
        block = slice(start, start + ROWS_AT_A_TIME)
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
) -> tuple[dict[str, float], Counts]:
    """Metrics, and the confusion matrix of the test set; the one epoch is the best one too."""

    def of(examples: Examples) -> tuple[dict[str, float], Counts]:
        if len(examples) == 0:
            return {}, np.zeros((task.num_classes,) * 2, dtype=np.int64)
        log_probs = _log_probs(features[examples.rows], weight, bias)
        return classification_metrics(log_probs, examples.labels)

    validation, _ = of(task.validation)
    test, confusion = of(task.test)
    scored = under("validation", validation) | under("test", test)
    best = under("best", scored) | {"best/epoch": 1.0} if validation else {}
    return {"train/accuracy": of(task.labelled)[0]["accuracy"]} | scored | best, confusion


def _save_head(task: TrainTask, frozen: Frozen, weight: Floats, bias: Floats) -> str:
    """Writes the head alone: the encoder is a file or a seed already."""
    weights: dict[str, Tensor] = {
        "head.linear.weight": torch.from_numpy(weight),
        "head.linear.bias": torch.from_numpy(bias),
    }
    digest = checkpoints.digest_of_weights(weights)
    meta = {
        "probe": asdict(frozen.network.plan),
        "encoder_digest": encoder_digest(frozen.network),
        "labelled": len(task.labelled),
        "digest": digest,
    }
    checkpoints.save(task.out_dir / CHECKPOINT, {"weights": weights, "meta": meta})
    return digest


def _load_head(task: PredictTask, network: Network) -> tuple[Floats, Floats]:
    content = checkpoints.load(task.checkpoint)
    meta, weights = content.get("meta"), content.get("weights")
    if not isinstance(meta, dict) or not isinstance(weights, dict) or "probe" not in meta:
        raise TrainingError(
            f"{task.checkpoint} is not a checkpoint of a linear probe; predict with the trainer "
            "that wrote it"
        )
    if meta["encoder_digest"] != encoder_digest(network):
        raise TrainingError(
            f"{task.checkpoint} was fitted on another encoder (digest {meta['encoder_digest']}); "
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
