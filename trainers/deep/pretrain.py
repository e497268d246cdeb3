"""The one pretraining loop: epochs over the pool's images, each safe from being killed."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.base import TrainingError
from trainers.deep import checkpoints
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.compute import Mode, Workload, choose_mode, hardware, repeatable
from trainers.deep.images import Normaliser, Pixels, open_packed
from trainers.deep.losses.geometry import alignment, effective_rank, mean_deviation, uniformity
from trainers.deep.methods import Batch, Method, method_of
from trainers.deep.networks import Plan, plan_network
from trainers.deep.pair_views import RandomViews
from trainers.deep.seeding import generator
from trainers.encoders import Encoder
from trainers.files import EPOCH_CHECKPOINT, replacing
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

Record = dict[str, float]
"""One epoch: a line of the history."""


@dataclass(eq=False)
class Progress:
    """A pretraining between two epochs; all else is a function of (seed, epoch)."""

    method: Method
    optimizer: torch.optim.Optimizer
    mode: Mode
    plan: Plan
    initial_digest: str
    history: list[Record] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return int(self.history[-1]["steps"]) if self.history else 0


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
    started = time.perf_counter()
    _check(pretrainer, encoder, task)
    progress = _open_progress(pretrainer, encoder, task)
    material = _material(pretrainer, task)
    steps = len(material) // min(pretrainer.batch_size, len(material))
    saved = time.monotonic()
    with repeatable(progress.mode, task.device):
        for number in range(len(progress.history) + 1, pretrainer.epochs + 1):
            _one_epoch(pretrainer, task, progress, material, number, steps)
            if time.monotonic() - saved >= pretrainer.checkpoint_every_s:
                _save_progress(progress, pretrainer, encoder, task)
                saved = time.monotonic()
    path, digest = _save_encoder(progress, pretrainer, task)
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


def _material(pretrainer: Pretrainer, task: PretrainTask) -> Material:
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
    for step, batch in enumerate(_batches(pretrainer, task, progress, material, number)):
        lr = rate_of(pretrainer, number - 1 + step / steps)
        for group in progress.optimizer.param_groups:
            group["lr"] = lr
        with progress.mode.autocast(task.device):
            terms = progress.method.losses(batch)
        progress.optimizer.zero_grad()
        torch.autograd.backward(terms["loss"])
        progress.optimizer.step()
        progress.method.after_step()
        for name, value in terms.items():  # kept on the device: reading would wait for each step
            sums[name] = sums.get(name, 0) + value.detach()
    record: Record = {"epoch": number, "total_epochs": pretrainer.epochs}
    record |= {name: float(total) / steps for name, total in sums.items()}
    if not math.isfinite(record["loss"]):
        raise TrainingError(
            f"the loss is {record['loss']} in epoch {number} at learning rate {lr:g}; "
            "lower pretrain.optimizer.lr, or give it pretrain.warmup_epochs"
        )
    record |= {"lr": lr, "steps": progress.steps + steps}
    record |= _shape_of_embedding(task, progress, material)
    record["seconds"] = time.perf_counter() - started
    progress.history.append(record)
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


def _batches(
    pretrainer: Pretrainer,
    task: PretrainTask,
    progress: Progress,
    material: Material,
    number: int,
) -> Iterator[Batch]:
    """Full minibatches in this epoch's order; all chance of views is drawn before the first."""
    count = len(material)
    size = min(pretrainer.batch_size, count)
    order = torch.randperm(count, generator=generator(task.seed, "order", number))
    first = material.views.draw(count, generator(task.seed, "first view", number))
    second = material.views.draw(count, generator(task.seed, "second view", number))
    rng = generator(task.seed, "method", number)
    arrange, face_size = progress.mode.arrange, progress.method.face_size
    for start in range(0, count - size + 1, size):
        positions = order[start : start + size]
        yield Batch(
            first=arrange(material.seen(positions, first[positions])),
            second=arrange(material.seen(positions, second[positions])),
            faces=None if face_size is None else arrange(material.faces(positions, face_size)),
            classes=material.classes[positions.to(material.classes.device)],
            rng=rng,
        )


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


def _open_progress(pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask) -> Progress:
    """Where an earlier attempt was killed, or the very beginning."""
    log = task.out_dir / HISTORY_FILE
    left = _left_behind(pretrainer, encoder, task)
    if left is None:
        log.write_text("", encoding="utf-8")
        return _begin(pretrainer, encoder, task)
    progress = _restore(left, pretrainer, task)
    _save_progress(progress, pretrainer, encoder, task)  # this attempt may be killed at once
    with replacing(log) as temporary:
        lines = (json.dumps(record) + "\n" for record in progress.history)
        temporary.write_text("".join(lines), encoding="utf-8")
    return progress


def _begin(pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask) -> Progress:
    height, width, channels = open_packed(task.images).shape[1:]
    # A head of two classes stands for none: an encoder does not know how many there will be.
    bare = encoder.model_copy(update={"weights": None, "pretrain": None})
    plan, _ = plan_network(bare, image_channels=channels, num_classes=2, dropout=0.0)
    workload = Workload(plan, (height, width), pretrainer.batch_size, task.device)
    mode = choose_mode(pretrainer.compute, workload, task.cache_dir)
    method = _blank_method(pretrainer, plan)
    method.draw(generator(task.seed, "init"))
    digest = digest_of_weights(method.state_dict())
    mode.place(method, task.device)
    return Progress(method, _optimizer(pretrainer, method), mode, plan, digest)


def _blank_method(pretrainer: Pretrainer, plan: Plan) -> Method:
    with torch.device("meta"):
        method = method_of(pretrainer, plan)
    method.to_empty(device="cpu")
    return method


def _optimizer(pretrainer: Pretrainer, method: Method) -> torch.optim.Optimizer:
    settings = pretrainer.optimizer
    return torch.optim.SGD(
        [weight for weight in method.parameters() if weight.requires_grad],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
        fused=True,
    )


def identity_of(pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask) -> str:
    """sha256 of all that decides the weights, and of nothing that another node may name anew."""
    settings = pretrainer.model_dump(mode="json", exclude={"checkpoint_every_s", "seed"})
    numbers = (encoder.name, encoder.width, task.seed, task.images.mean, task.images.std)
    digest = hashlib.sha256(json.dumps([settings, numbers], sort_keys=True).encode())
    for rows in (task.rows, task.labelled.rows, task.labelled.labels):
        digest.update(rows.tobytes() + b"\0")
    return digest.hexdigest()


def _save_progress(
    progress: Progress, pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask
) -> None:
    content = {
        "identity": identity_of(pretrainer, encoder, task),
        "plan": asdict(progress.plan),
        "weights": progress.method.state_dict(),
        "optimizer": progress.optimizer.state_dict(),
        "mode": asdict(progress.mode),
        "initial_digest": progress.initial_digest,
        "history": progress.history,
    }
    checkpoints.save(task.out_dir / EPOCH_CHECKPOINT, content)


def _left_behind(
    pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask
) -> dict[str, Any] | None:
    path = task.resume_from / EPOCH_CHECKPOINT if task.resume_from else None
    if path is None or not path.exists():
        return None
    try:
        content = checkpoints.load(path)
    except TrainingError as error:
        logger.warning("pretraining begins anew: %s", error)
        return None
    if content.get("identity") != identity_of(pretrainer, encoder, task):
        logger.warning("pretraining begins anew: %s is of another task", path)
        return None
    return content


def _restore(content: dict[str, Any], pretrainer: Pretrainer, task: PretrainTask) -> Progress:
    mode, plan = Mode(**content["mode"]), Plan(**content["plan"])
    method = _blank_method(pretrainer, plan)
    method.load_state_dict(content["weights"])
    mode.place(method, task.device)
    optimizer = _optimizer(pretrainer, method)
    optimizer.load_state_dict(content["optimizer"])
    return Progress(
        method, optimizer, mode, plan, content["initial_digest"], list(content["history"])
    )


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
    named = {f"encoder.{name}": tensor for name, tensor in weights.items()}
    checkpoints.save(path, {"weights": named, "meta": meta})
    return path, digest
