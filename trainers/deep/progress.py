"""Everything a fit carries from epoch to epoch, and how it survives being killed."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.base import TrainingError, TrainTask
from trainers.deep import checkpoints
from trainers.deep.compute import Mode, Workload, choose_mode
from trainers.deep.images import open_packed
from trainers.deep.networks import Network, Plan, blank_network
from trainers.deep.optimizing import make_optimizer
from trainers.deep.start import starting_network
from trainers.deep.stopping import Epoch
from trainers.fer_classifier import FERClassifier
from trainers.files import EPOCH_CHECKPOINT, replacing
from trainers.linear_probe import LinearProbe

EPOCHS_LOG = "metrics.jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Best:
    """The epoch the validation set likes best so far; the earliest of equals."""

    epoch: int
    balanced_accuracy: float
    weights: Mapping[str, Tensor]  # on the CPU


@dataclass(eq=False)
class Progress:
    """A fit between two epochs.

    The schedule and the stop rules are functions of `history`, and chance is one of (seed, epoch),
    so neither needs a place here.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    mode: Mode
    initial_digest: str
    encoder_digest: str
    source: str  # where the first weights came from, for people
    history: list[Epoch] = field(default_factory=list)
    best: Best | None = None

    @property
    def steps(self) -> int:
        return self.history[-1].steps if self.history else 0

    def record(self, epoch: Epoch, out_dir: Path) -> None:
        """Appends an epoch, and its line to the log that others read along."""
        self.history.append(epoch)
        with (out_dir / EPOCHS_LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(epoch)) + "\n")


def open_progress(trainer: FERClassifier, task: TrainTask) -> Progress:
    """Where an earlier attempt was killed, or the very beginning.

    The beginning too where what was left is damaged, or of another task: that ends in the same
    weights, only later.

    Raises:
        TrainingError: Weights do not fit the network.
    """
    log = task.out_dir / EPOCHS_LOG
    left = _left_behind(trainer, task)
    if left is None:
        log.write_text("", encoding="utf-8")
        return _begin(trainer, task)
    progress = _restore(left, trainer, task)
    # Into this attempt's own folder at once: it may be killed before its first epoch is over.
    save_progress(progress, trainer, task)
    with replacing(log) as temporary:
        lines = (json.dumps(asdict(epoch)) + "\n" for epoch in progress.history)
        temporary.write_text("".join(lines), encoding="utf-8")
    return progress


def save_progress(progress: Progress, trainer: FERClassifier, task: TrainTask) -> None:
    """Writes the epoch checkpoint, whole or not at all."""
    best = progress.best
    content = {
        "identity": identity_of(trainer, task),
        "plan": asdict(progress.network.plan),
        "weights": progress.network.state_dict(),
        "optimizer": progress.optimizer.state_dict(),
        "mode": asdict(progress.mode),
        "initial_digest": progress.initial_digest,
        "encoder_digest": progress.encoder_digest,
        "source": progress.source,
        "history": [asdict(epoch) for epoch in progress.history],
        "best": None if best is None else vars(best),
    }
    checkpoints.save(task.out_dir / EPOCH_CHECKPOINT, content)


def identity_of(trainer: FERClassifier | LinearProbe, task: TrainTask) -> str:
    """sha256 of all that decides the weights, and of nothing that another node may name anew."""
    settings = trainer.model_dump(mode="json", exclude={"checkpoint_every_s", "posterior_draws"})
    settings["encoder"].pop("weights")
    settings.pop("start_from", None)
    numbers = (task.seed, task.num_classes, task.images.mean, task.images.std)
    digest = hashlib.sha256(json.dumps([settings, numbers], sort_keys=True).encode())
    for examples in (task.labelled, task.validation):
        digest.update(examples.rows.tobytes())
        digest.update(examples.labels.tobytes())
        if examples.shares is not None:
            digest.update(examples.shares.tobytes())
    return digest.hexdigest()


def _begin(trainer: FERClassifier, task: TrainTask) -> Progress:
    height, width, channels = open_packed(task.images).shape[1:]
    start = starting_network(trainer, task, (height, width, channels))
    workload = Workload(start.network.plan, (height, width), trainer.batch_size, task.device)
    mode = choose_mode(trainer.compute, workload, task.cache_dir)
    network = mode.place(start.network, task.device)
    return Progress(
        network=network,
        optimizer=make_optimizer(trainer.optimizer, network.parameters()),
        mode=mode,
        initial_digest=start.initial_digest,
        encoder_digest=start.encoder_digest,
        source=start.source,
    )


def _left_behind(trainer: FERClassifier, task: TrainTask) -> dict[str, Any] | None:
    """The epoch checkpoint of the earlier attempt at this very task, if it left one."""
    path = task.resume_from / EPOCH_CHECKPOINT if task.resume_from else None
    if path is None or not path.exists():
        return None
    try:
        content = checkpoints.load(path)
    except TrainingError as error:
        logger.warning("training begins anew: %s", error)
        return None
    if content.get("identity") != identity_of(trainer, task):
        logger.warning("training begins anew: %s is of another task", path)
        return None
    return content


def _restore(content: dict[str, Any], trainer: FERClassifier, task: TrainTask) -> Progress:
    """The progress that `save_progress` wrote; `content` is what went in."""
    mode = Mode(**content["mode"])
    network = blank_network(Plan(**content["plan"]))
    network.load_state_dict(content["weights"])
    mode.place(network, task.device)
    optimizer = make_optimizer(trainer.optimizer, network.parameters())
    optimizer.load_state_dict(content["optimizer"])
    return Progress(
        network=network,
        optimizer=optimizer,
        mode=mode,
        initial_digest=content["initial_digest"],
        encoder_digest=content["encoder_digest"],
        source=content["source"],
        history=[Epoch(**epoch) for epoch in content["history"]],
        best=None if content["best"] is None else Best(**content["best"]),
    )
