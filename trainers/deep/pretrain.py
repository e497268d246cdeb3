"""The one pretraining loop: epochs over the pool's images, each safe from being killed."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.base import TrainingError
from trainers.deep import checkpoints
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.compute import hardware, repeatable
from trainers.deep.gang import Gang, seated
from trainers.deep.images import Normaliser, Pixels, open_packed
from trainers.deep.losses.geometry import alignment, effective_rank, mean_deviation, uniformity
from trainers.deep.methods import Batch
from trainers.deep.pair_views import RandomViews
from trainers.deep.pretrain_progress import Progress, Record, open_progress, save_progress
from trainers.deep.seeding import generator
from trainers.deep.watching import watch
from trainers.encoders import Encoder
from trainers.files import EPOCH_CHECKPOINT
from trainers.pretraining import (
    ENCODER_FILE,
    HISTORY_FILE,
    Pretrainer,
    PretrainReport,
    PretrainTask,
)

LOOKED_AT = 512
"""Images on which the shape of the embedding is measured after each epoch."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Material:
    """The images of a task, ready to be drawn from."""

    pixels: Pixels
    views: RandomViews
    normalise: Normaliser
    classes: Tensor  # (N,) on the device; -1 where nobody knows

    def __len__(self) -> int:
        return len(self.pixels)

    def seen(self, positions: Tensor, draws: Tensor) -> Tensor:
        """(B,) positions and (B, columns) draws -> (B, Ch, h, w) normalised views."""
        pixels = self.pixels.take(positions)
        return self.normalise(self.views.apply(pixels, draws.to(pixels.device)))

    def faces(self, positions: Tensor, size: int) -> Tensor:
        """(B, Ch, size, size): the images as they are, resized and normalised."""
        pixels = self.pixels.take(positions).to(torch.float32)
        resized = F.interpolate(
            pixels, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
        return self.normalise(resized)


def pretrain_encoder(
    pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask
) -> PretrainReport:
    """Trains to the last epoch and leaves the encoder in `task.out_dir`.

    Raises:
        TrainingError: See `Pretrainer.pretrain`.
    """
    _check(pretrainer, encoder, task)
    _check_beside(pretrainer, task)
    with seated(task.seat, task.device) as gang:
        return _pretrain(pretrainer, encoder, task, gang)


def _pretrain(
    pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask, gang: Gang
) -> PretrainReport:
    started = time.perf_counter()
    progress = open_progress(pretrainer, encoder, task, gang)
    material = material_of(pretrainer, task)
    steps = len(material) // minibatch_size(pretrainer, material, gang)
    saved = time.monotonic()
    with repeatable(progress.mode, task.device):
        for number in range(len(progress.history) + 1, pretrainer.epochs + 1):
            _one_epoch(pretrainer, task, progress, material, number, steps)
            if gang.leads and time.monotonic() - saved >= pretrainer.checkpoint_every_s:
                save_progress(progress, pretrainer, encoder, task)
                saved = time.monotonic()
    path, digest = _save_encoder(progress, pretrainer, task)
    if gang.agreed(digest) != digest:
        raise TrainingError(
            f"process {gang.rank} of {gang.size} ended with other weights than process 0; "
            "let all of them run on the same kind of device"
        )
    if gang.leads:
        (task.out_dir / EPOCH_CHECKPOINT).unlink(missing_ok=True)
    return PretrainReport(
        encoder=path,
        digest=digest,
        initial_digest=progress.initial_digest,
        metrics={k: v for k, v in progress.history[-1].items() if k not in _COUNTERS},
        epochs=len(progress.history),
        steps=progress.steps,
        seconds=time.perf_counter() - started,
        notes={
            "device": task.device,
            "hardware": hardware(task.device),
            "torch": torch.__version__,
            "precision": progress.mode.precision,
            "channels_last": str(progress.mode.channels_last),
            "threads": str(progress.mode.threads),
            "processes": str(gang.size),
            "watched": f"{len(task.watched)} labels of the validation set",
        },
    )


_COUNTERS = frozenset({"epoch", "total_epochs", "seconds", "steps"})


def _check(pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask) -> None:
    reason = pretrainer.refusal(encoder, open_packed(task.images).shape[1:])
    if reason is not None:
        raise TrainingError(reason)
    if len(task.labelled) and not pretrainer.reads_labels:
        raise TrainingError(
            f"{pretrainer.name} reads no labels and was handed {len(task.labelled)}; hand it none"
        )
    if pretrainer.reads_labels and len(task.labelled) < 2:
        raise TrainingError(
            f"{pretrainer.name} learns from labelled images, and there are {len(task.labelled)}; "
            "give the first round a larger seed set"
        )
    stray = np.setdiff1d(task.labelled.rows, task.rows)
    if len(stray):
        raise TrainingError(f"{len(stray)} labelled rows are not of the pool, first {stray[0]}")
    if len(task.rows) < 2:
        raise TrainingError(f"there are {len(task.rows)} images; pretraining needs 2 and more")


def _check_beside(pretrainer: Pretrainer, task: PretrainTask) -> None:
    """What is beside the images learned from: other processes, and what is watched."""
    if task.seat is not None and pretrainer.batch_size < 2 * task.seat.size:
        raise TrainingError(
            f"a minibatch of {pretrainer.batch_size} images is too small for {task.seat.size} "
            "processes; raise pretrain.batch_size, or lower pretrain.workers"
        )
    if pretrainer.watch_every and len(task.watched) < 4:
        raise TrainingError(
            f"pretrain.watch_every needs a validation set, and it has {len(task.watched)} images; "
            "raise validation.size, or watch nothing"
        )
    if np.isin(task.watched.rows, task.rows).any():
        raise TrainingError("what is watched is part of what is learned from")


def material_of(pretrainer: Pretrainer, task: PretrainTask) -> Material:
    """What the method sees of the task's images: all of them, or those with a label alone."""
    rows = task.labelled.rows if _sees_labelled_alone(pretrainer) else task.rows
    pixels = Pixels(task.images, rows, task.device, resident=True)
    known = dict(zip(task.labelled.rows.tolist(), task.labelled.labels.tolist(), strict=True))
    classes = torch.tensor([known.get(row, -1) for row in rows.tolist()], dtype=torch.int64)
    return Material(
        pixels=pixels,
        views=RandomViews(pretrainer.views, pixels.shape),
        normalise=Normaliser(task.images, task.device),
        classes=classes.to(task.device),
    )


def _sees_labelled_alone(pretrainer: Pretrainer) -> bool:
    return pretrainer.reads_labels and getattr(pretrainer, "unlabelled", "") == "leave_out"


def _one_epoch(
    pretrainer: Pretrainer,
    task: PretrainTask,
    progress: Progress,
    material: Material,
    number: int,
    steps: int,
) -> None:
    started = time.perf_counter()
    progress.method.train()
    sums: dict[str, Tensor] = {}
    lr = 0.0
    for step, batch in enumerate(batches_of(pretrainer, task, progress, material, number)):
        lr = rate_of(pretrainer, number - 1 + step / steps)
        for group in progress.optimizer.param_groups:
            group["lr"] = lr
        with progress.mode.autocast(task.device):
            terms = progress.method.losses(batch)
        progress.optimizer.zero_grad()
        torch.autograd.backward(terms["loss"])
        progress.gang.average([w for g in progress.optimizer.param_groups for w in g["params"]])
        progress.optimizer.step()
        progress.method.after_step()
        for name, value in terms.items():  # kept on the device: reading would wait for each step
            sums[name] = sums.get(name, 0) + value.detach()
    record: Record = {"epoch": number, "total_epochs": pretrainer.epochs}
    means = progress.gang.mean(torch.stack([*sums.values()]).double() / steps)
    record |= dict(zip(sums, means.tolist(), strict=True))
    if not math.isfinite(record["loss"]):
        raise TrainingError(
            f"the loss is {record['loss']} in epoch {number} at learning rate {lr:g}; "
            "lower pretrain.optimizer.lr, or give it pretrain.warmup_epochs"
        )
    record |= {"lr": lr, "steps": progress.steps + steps}
    record |= _shape_of_embedding(task, progress, material)
    if _watches(pretrainer, number):
        encoder, mode = progress.method.encoder, progress.mode
        record |= watch(encoder, task.images, task.watched, mode, task.device)
    record["seconds"] = time.perf_counter() - started
    progress.history.append(record)
    if not progress.gang.leads:
        return
    with (task.out_dir / HISTORY_FILE).open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def rate_of(pretrainer: Pretrainer, time_: float) -> float:
    """Learning rate after so many epochs, a real number in [0, epochs).

    Constant, or lr (f + (1 - f) (1 + cos(π e / E)) / 2) with e whole epochs and f `final_lr`;
    before `warmup_epochs` W a straight line from lr/100 to what the schedule says at W.
    """
    warmup = pretrainer.warmup_epochs
    lr = pretrainer.optimizer.lr
    if time_ < warmup:
        end = _scheduled(pretrainer, warmup)
        return 0.01 * lr + (end - 0.01 * lr) * time_ / warmup
    return _scheduled(pretrainer, math.floor(time_))


def _scheduled(pretrainer: Pretrainer, epoch: int) -> float:
    if pretrainer.schedule == "constant":
        return pretrainer.optimizer.lr
    cosine = (1 + math.cos(math.pi * epoch / pretrainer.epochs)) / 2
    share = pretrainer.final_lr + (1 - pretrainer.final_lr) * cosine
    return pretrainer.optimizer.lr * share


def batches_of(
    pretrainer: Pretrainer,
    task: PretrainTask,
    progress: Progress,
    material: Material,
    number: int,
) -> Iterator[Batch]:
    """Full minibatches in this epoch's order; all chance of views is drawn before the first."""
    count, gang = len(material), progress.gang
    size = minibatch_size(pretrainer, material, gang)
    order = torch.randperm(count, generator=generator(task.seed, "order", number))
    first = material.views.draw(count, generator(task.seed, "first view", number))
    second = material.views.draw(count, generator(task.seed, "second view", number))
    rng = generator(task.seed, "method", number)
    arrange, face_size = progress.mode.arrange, progress.method.face_size
    for start in range(0, count - size + 1, size):
        positions = gang.share(order[start : start + size])
        yield Batch(
            first=arrange(material.seen(positions, first[positions])),
            second=arrange(material.seen(positions, second[positions])),
            faces=None if face_size is None else arrange(material.faces(positions, face_size)),
            classes=material.classes[positions.to(material.classes.device)],
            rng=rng,
            gang=gang,
        )


def _watches(pretrainer: Pretrainer, number: int) -> bool:
    every = pretrainer.watch_every
    return every > 0 and (number % every == 0 or number == pretrainer.epochs)


def minibatch_size(pretrainer: Pretrainer, material: Material, gang: Gang) -> int:
    """Images of a step over all processes; as many for each of them."""
    size = min(pretrainer.batch_size, len(material))
    return size - size % gang.size


@torch.no_grad()
def _shape_of_embedding(task: PretrainTask, progress: Progress, material: Material) -> Record:
    """How the encoder spreads two views of a few images: always the same images and views."""
    rng = generator(task.seed, "looked at")
    some = torch.randperm(len(material), generator=rng)[:LOOKED_AT]
    progress.method.eval()
    embedded = []
    for _ in range(2):
        views = material.seen(some, material.views.draw(len(some), rng))
        with progress.mode.autocast(task.device):
            embedded.append(progress.method.encoder(progress.mode.arrange(views)).float())
    return {
        "alignment": float(alignment(*embedded)),
        "uniformity": float(uniformity(embedded[0])),
        "effective_rank": float(effective_rank(embedded[0])),
        "deviation": float(mean_deviation(embedded[0])),
    }


def _save_encoder(
    progress: Progress, pretrainer: Pretrainer, task: PretrainTask
) -> tuple[Path, str]:
    """Writes the encoder alone, under names that `Encoder.weights` reads."""
    weights = checkpoints.on_cpu(progress.method.weights_to_keep())
    digest = digest_of_weights(weights)
    meta = {
        "plan": asdict(progress.plan),
        "digest": digest,
        "method": pretrainer.model_dump(mode="json"),
        "seed": task.seed,
        "mean": list(task.images.mean),
        "std": list(task.images.std),
        "images": len(task.rows),
        "labels": len(task.labelled),
    }
    path = task.out_dir / ENCODER_FILE
    if not progress.gang.leads:
        return path, digest
    named = {f"encoder.{name}": tensor for name, tensor in weights.items()}
    checkpoints.save(path, {"weights": named, "meta": meta})
    return path, digest
