"""Everything a pretraining carries from epoch to epoch, and how it survives being killed."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from trainers.base import TrainingError
from trainers.deep import checkpoints
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.compute import Mode, Workload, choose_mode
from trainers.deep.gang import ALONE, Gang
from trainers.deep.images import open_packed
from trainers.deep.methods import Method, method_of
from trainers.deep.networks import Plan, plan_network
from trainers.deep.optimizing import make_optimizer
from trainers.deep.seeding import generator
from trainers.encoders import Encoder
from trainers.files import EPOCH_CHECKPOINT, replacing
from trainers.pretraining import HISTORY_FILE, Pretrainer, PretrainTask

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
    gang: Gang = ALONE

    @property
    def steps(self) -> int:
        return int(self.history[-1]["steps"]) if self.history else 0


def open_progress(
    pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask, gang: Gang
) -> Progress:
    """Where an earlier attempt was killed, or the very beginning."""
    log = task.out_dir / HISTORY_FILE
    left = _left_behind(pretrainer, encoder, task)
    if left is None:
        if gang.leads:
            log.write_text("", encoding="utf-8")
        return begin(pretrainer, encoder, task, gang)
    progress = _restore(left, pretrainer, task, gang)
    if not gang.leads:
        return progress
    save_progress(progress, pretrainer, encoder, task)  # this attempt may be killed at once
    with replacing(log) as temporary:
        lines = (json.dumps(record) + "\n" for record in progress.history)
        temporary.write_text("".join(lines), encoding="utf-8")
    return progress


def begin(
    pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask, gang: Gang = ALONE
) -> Progress:
    """A pretraining before its first step."""
    height, width, channels = open_packed(task.images).shape[1:]
    # A head of two classes stands for none: an encoder does not know how many there will be.
    bare = encoder.model_copy(update={"weights": None, "pretrain": None})
    plan, _ = plan_network(bare, image_channels=channels, num_classes=2, dropout=0.0)
    workload = Workload(plan, (height, width), pretrainer.batch_size, task.device)
    mode = gang.agreed(choose_mode(pretrainer.compute, workload, task.cache_dir))
    method = _blank_method(pretrainer, plan)
    method.draw(generator(task.seed, "init"))
    digest = digest_of_weights(method.state_dict())
    mode.place(method, task.device)
    gang.synchronise(method)
    return Progress(method, _optimizer(pretrainer, method), mode, plan, digest, gang=gang)


def _blank_method(pretrainer: Pretrainer, plan: Plan) -> Method:
    with torch.device("meta"):
        method = method_of(pretrainer, plan)
    method.to_empty(device="cpu")
    return method


def _optimizer(pretrainer: Pretrainer, method: Method) -> torch.optim.Optimizer:
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    return make_optimizer(pretrainer.optimizer, weights)


def identity_of(pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask) -> str:
    """sha256 of all that decides the weights, and of nothing that another node may name anew."""
    numbers = (encoder.name, encoder.width, task.seed, task.images.mean, task.images.std)
    digest = hashlib.sha256(json.dumps([pretrainer.settings(), numbers], sort_keys=True).encode())
    for rows in (task.rows, task.labelled.rows, task.labelled.labels):
        digest.update(rows.tobytes() + b"\0")
    return digest.hexdigest()


def save_progress(
    progress: Progress, pretrainer: Pretrainer, encoder: Encoder, task: PretrainTask
) -> None:
    """Writes the epoch checkpoint, whole or not at all."""
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


def _restore(
    content: dict[str, Any], pretrainer: Pretrainer, task: PretrainTask, gang: Gang
) -> Progress:
    mode, plan = Mode(**content["mode"]), Plan(**content["plan"])
    method = _blank_method(pretrainer, plan)
    method.load_state_dict(content["weights"])
    mode.place(method, task.device)
    gang.synchronise(method)
    optimizer = _optimizer(pretrainer, method)
    optimizer.load_state_dict(content["optimizer"])
    history = list(content["history"])
    return Progress(method, optimizer, mode, plan, content["initial_digest"], history, gang)
