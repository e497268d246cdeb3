"""The one training loop: epochs until a rule stops them, each one safe from being killed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import torch

from trainers.base import Examples, TrainingError, TrainReport, TrainTask
from trainers.deep.checkpoints import on_cpu
from trainers.deep.compute import hardware, repeatable
from trainers.deep.epoch import EpochSetting, TrainingSet, minibatch_sizes, train_epoch
from trainers.deep.images import open_packed
from trainers.deep.networks import plan_network, save_learner
from trainers.deep.optimizing import make_optimizer
from trainers.deep.outputs import Floats, write_test_predictions
from trainers.deep.progress import (
    Best,
    Progress,
    open_progress,
    save_progress,
)
from trainers.deep.schedules import learning_rate
from trainers.deep.scoring import evaluate, log_probs_of
from trainers.deep.start import continued, earlier_learner, fresh_network
from trainers.deep.stopping import (
    Epoch,
    has_converged,
    has_diverged,
    stop_reason,
    total_epochs,
)
from trainers.fer_classifier import FERClassifier
from trainers.files import EPOCH_CHECKPOINT
from trainers.metrics import Counts, classification_metrics

CHECKPOINT = "checkpoint.pt"
BEST_CHECKPOINT = "best.pt"


def fit_classifier(trainer: FERClassifier, task: TrainTask) -> TrainReport:
    """Trains until a rule stops it, evaluates, and leaves its checkpoints in `task.out_dir`.

    `checkpoint.pt` is the network after the last epoch; `best.pt`, where there is a validation
    set, the one at the epoch of the best balanced accuracy on it.

    Raises:
        TrainingError: See `Trainer.fit`.
    """
    check_task(task)
    follower = trainer.follows_validation()
    if follower is not None and not len(task.validation):
        raise TrainingError(
            f"{follower} follows the validation set, and there is none; set validation.size, or "
            "take another schedule"
        )
    started = time.perf_counter()
    progress = open_progress(trainer, task)
    with repeatable(progress.mode, task.device):
        reason = _train(trainer, task, progress)
        fitted = time.perf_counter()
        metrics, confusion, test_log_probs = _evaluate(task, progress)
        path = task.out_dir / CHECKPOINT
        digest = save_learner(path, progress.network, _meta(task, progress))
        metrics |= _evaluate_best(task, progress)
    (task.out_dir / EPOCH_CHECKPOINT).unlink(missing_ok=True)
    return TrainReport(
        checkpoint=path,
        checkpoint_digest=digest,
        initial_digest=progress.initial_digest,
        encoder_digest=progress.encoder_digest,
        metrics=metrics,
        confusion=confusion,
        epochs=len(progress.history),
        steps=progress.steps,
        stop_reason=reason,
        seconds={"fit": fitted - started, "evaluate": time.perf_counter() - fitted},
        notes=_notes(task, progress),
        has_converged=has_converged(progress.history, trainer.stopping),
        test_predictions=write_test_predictions(task, test_log_probs),
    )


def check_task(task: TrainTask) -> None:
    """Refuses a task no fit can carry out.

    Raises:
        TrainingError: Nothing is labelled, a class is out of range, or shares are no shares.
    """
    if len(task.labelled) == 0:
        raise TrainingError("nothing is labelled; give the first round a seed set of 1 or more")
    for name in ("labelled", "validation", "test"):
        examples: Examples = getattr(task, name)
        outside = (examples.labels < 0) | (examples.labels >= task.num_classes)
        if outside.any():
            raise TrainingError(
                f"{outside.sum()} {name} labels are not in [0, {task.num_classes}), first "
                f"{examples.labels[outside][0]} of row {examples.rows[outside][0]}; "
                "correct the class map"
            )
    _check_shares(task)


def _check_shares(task: TrainTask) -> None:
    shares = task.labelled.shares
    if shares is None:
        return
    expected = (len(task.labelled), task.num_classes)
    if shares.shape != expected:
        raise TrainingError(f"shares of votes are {shares.shape}, and must be {expected}")
    # Written so that a value that is no number does not pass.
    if not ((shares >= 0).all() and np.allclose(shares.sum(axis=1), 1, atol=1e-5)):
        raise TrainingError("shares of votes must not be below 0, and sum to 1 for each sample")


def _train(trainer: FERClassifier, task: TrainTask, progress: Progress) -> str:
    """Trains on; returns why it stopped."""
    examples = TrainingSet.open(task.images, task.labelled, task.device)
    saved = time.monotonic()
    reason = stop_reason(progress.history, trainer.stopping) if progress.history else None
    while reason is None:
        reason = _one_epoch(trainer, task, progress, examples)
        if reason is not None or time.monotonic() - saved >= trainer.checkpoint_every_s:
            save_progress(progress, trainer, task)
            saved = time.monotonic()
    return reason


def _one_epoch(
    trainer: FERClassifier, task: TrainTask, progress: Progress, examples: TrainingSet
) -> str | None:
    started = time.perf_counter()
    steps = len(minibatch_sizes(len(examples), trainer.batch_size))
    number, total = len(progress.history) + 1, total_epochs(trainer, steps)
    looks = [epoch.validation for epoch in progress.history if epoch.validation is not None]
    rates = [learning_rate(trainer, number - 1 + s / steps, total, looks) for s in range(steps)]
    setting = EpochSetting(number=number, rates=rates, seed=task.seed, mode=progress.mode)
    learnt = train_epoch(progress.network, progress.optimizer, examples, trainer, setting)
    epoch = Epoch(
        epoch=number,
        total_epochs=total,
        loss=learnt.loss,
        accuracy=learnt.accuracy,
        terms=learnt.terms,
        lr=rates[-1],
        seconds=0.0,
        steps=progress.steps + steps,
    )
    if has_diverged([*progress.history, epoch], trainer.stopping):
        epoch = replace(epoch, restarted=True)
        _restart(trainer, task, progress)
    reason = stop_reason([*progress.history, epoch], trainer.stopping)
    if len(task.validation) and (reason or number % trainer.validate_every == 0):
        epoch = replace(epoch, validation=_look(task, progress, number))
    progress.record(replace(epoch, seconds=time.perf_counter() - started), task.out_dir)
    return reason


def _restart(trainer: FERClassifier, task: TrainTask, progress: Progress) -> None:
    """Begins a diverged fit anew: no momentum, other weights; the schedule goes on.

    A fit that went on from an earlier learner goes back to it.
    """
    restarts = 1 + sum(epoch.restarted for epoch in progress.history)
    plan = progress.network.plan
    earlier = earlier_learner(trainer, task)
    if earlier is not None:
        height, width, channels = open_packed(task.images).shape[1:]
        network = continued(trainer, earlier, (height, width, channels), plan.num_classes)
        progress.network = progress.mode.place(network, task.device)
        progress.optimizer = make_optimizer(trainer.optimizer, progress.network.parameters())
        return
    _, imported = plan_network(  # the plan has been made: the file alone is read again
        trainer.encoder,
        image_channels=plan.in_channels,
        num_classes=plan.num_classes,
        dropout=plan.dropout,
    )
    network = fresh_network(plan, imported, task.seed, restarts)
    progress.network = progress.mode.place(network, task.device)
    progress.optimizer = make_optimizer(trainer.optimizer, progress.network.parameters())


def _look(task: TrainTask, progress: Progress, number: int) -> float:
    """Balanced accuracy on the validation set; keeps the weights if none was better before."""
    metrics, _ = evaluate(
        progress.network, task.images, task.validation, progress.mode, task.device
    )
    value = metrics["balanced_accuracy"]
    if progress.best is None or value > progress.best.balanced_accuracy:
        progress.best = Best(number, value, on_cpu(progress.network.state_dict()))
    return value


def _evaluate(task: TrainTask, progress: Progress) -> tuple[dict[str, float], Counts, Floats]:
    """Metrics after the last epoch; confusion matrix and log-probabilities of the test set."""
    last = progress.history[-1]
    metrics = {"train/loss": last.loss, "train/accuracy": last.accuracy}
    metrics |= under("train", last.terms)
    network, mode = progress.network, progress.mode
    validation, _ = evaluate(network, task.images, task.validation, mode, task.device)
    log_probs = log_probs_of(network, task.images, task.test, mode, task.device)
    test, confusion = classification_metrics(log_probs, task.test.labels)
    metrics |= under("validation", validation) | under("test", test)
    return metrics, confusion, log_probs


def _evaluate_best(task: TrainTask, progress: Progress) -> dict[str, float]:
    """The same of the best validation epoch, whose network replaces the last one in `progress`."""
    best = progress.best
    if best is None:
        return {}
    progress.network.load_state_dict(best.weights)
    save_learner(task.out_dir / BEST_CHECKPOINT, progress.network, _meta(task, progress))
    metrics, _, _ = _evaluate(task, progress)
    kept = {name: value for name, value in metrics.items() if not name.startswith("train/")}
    return under("best", kept) | {"best/epoch": float(best.epoch)}


def under(folder: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{folder}/{name}": value for name, value in metrics.items()}


def _meta(task: TrainTask, progress: Progress) -> dict[str, object]:
    return {
        "mode": asdict(progress.mode),
        "mean": list(task.images.mean),
        "std": list(task.images.std),
        "origin": dict(task.origin),
        "labelled": len(task.labelled),
        "epochs": len(progress.history),
        "encoder_digest": progress.encoder_digest,
    }


def _notes(task: TrainTask, progress: Progress) -> dict[str, str]:
    return {
        "device": task.device,
        "hardware": hardware(task.device),
        "torch": torch.__version__,
        "precision": progress.mode.precision,
        "channels_last": str(progress.mode.channels_last),
        "threads": str(progress.mode.threads),
        "weights": progress.source,
        "restarts": str(sum(epoch.restarted for epoch in progress.history)),
    }
