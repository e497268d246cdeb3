"""Weights as the policy of the round says, and proof that they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from trainers.base import TrainingError, TrainTask
from trainers.deep import checkpoints
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.importing import ImportedEncoder
from trainers.deep.networks import (
    Network,
    Plan,
    blank_network,
    build_network,
    encoder_digest,
    load_learner,
    plan_network,
    with_centers,
    with_views,
)
from trainers.deep.seeding import generator
from trainers.encoders import DEFAULT_WIDTHS
from trainers.fer_classifier import FERClassifier


@dataclass(frozen=True, eq=False)
class Start:
    """A network before its first step."""

    network: Network
    initial_digest: str
    encoder_digest: str
    source: str  # for people


def starting_network(
    trainer: FERClassifier, task: TrainTask, image_shape: tuple[int, int, int]
) -> Start:
    """The network of a fit's first step, as the weight policy says.

    Raises:
        TrainingError: A file does not fit, or what was loaded is not what the file holds.
    """
    earlier = earlier_learner(trainer, task)
    if earlier is not None:
        network = continued(trainer, earlier, image_shape, task.num_classes)
        source = f"continues {earlier}"
    else:
        plan, imported = plan_network(
            trainer.encoder,
            image_channels=image_shape[2],
            num_classes=task.num_classes,
            dropout=trainer.dropout,
        )
        plan = with_centers(plan, trainer.center_loss, image_shape[:2])
        plan = with_views(plan, trainer.crops, mirrors=trainer.flip_averaging)
        network = fresh_network(plan, imported, task.seed)
        source = str(imported.report) if imported else "drawn from the seed"
    digest = digest_of_weights(network.state_dict())
    return Start(network, digest, encoder_digest(network), source)


def earlier_learner(trainer: FERClassifier, task: TrainTask) -> Path | None:
    """The checkpoint that a fit goes on from, if it does."""
    return (task.previous or trainer.start_from) if trainer.weights == "warm_start" else None


def record_of(path: Path) -> dict[str, object]:
    """See `Trainer.record_of`; of a checkpoint we wrote, also one that was adopted."""
    meta = checkpoints.load(path).get("meta")
    if not isinstance(meta, dict):
        return {}
    if "members" in meta:  # a bundle
        meta = meta["members"][0]
    seen = {name: meta[name] for name in ("mean", "std") if name in meta}
    return {**seen, **meta.get("origin", {})}


def fresh_network(
    plan: Plan, imported: ImportedEncoder | None, seed: int, restart: int = 0
) -> Network:
    """A network with the encoder of a file, if there is one, and all else drawn from the seed."""
    network = build_network(plan, generator(seed, "init", restart))
    if imported is not None:
        # Not strict, as names on the allow-list may be missing; the digest proves the others.
        network.encoder.load_state_dict(dict(imported.tensors), strict=False)
        state = network.encoder.state_dict()
        loaded = {name: state[name] for name in imported.tensors}
        if digest_of_weights(loaded) != digest_of_weights(imported.tensors):
            raise TrainingError(
                f"the encoder's weights are not those of {imported.path} after loading: they are "
                "of another type; save the file in float32"
            )
    return network


def continued(
    trainer: FERClassifier, earlier: Path, image_shape: tuple[int, int, int], num_classes: int
) -> Network:
    """The network of an earlier learner's checkpoint.

    Raises:
        TrainingError: It is no such checkpoint, or of another network than the trainer's.
    """
    network, _ = load_learner(earlier)
    plan = network.plan
    name, width = trainer.encoder.name, plan.width
    if name in DEFAULT_WIDTHS:
        width = trainer.encoder.width or DEFAULT_WIDTHS[name]
    asked = with_centers(plan, trainer.center_loss, image_shape[:2])
    asked = with_views(asked, trainer.crops, mirrors=trainer.flip_averaging)
    wanted = (name, width, num_classes, trainer.dropout, asked.attention, asked.crop)
    found = (plan.encoder, plan.width, plan.num_classes, plan.dropout, plan.attention, plan.crop)
    has_centers = (trainer.center_loss is not None) == plan.has_centers
    if wanted != found or not has_centers or image_shape[2] not in (plan.in_channels, 1):
        raise TrainingError(
            f"{earlier} holds (encoder, width, classes, dropout, attention, crop) = {found}, the "
            f"trainer asks for {wanted}; a warm start needs the same network"
        )
    asked = replace(asked, frozen=trainer.encoder.freeze)
    if asked == plan:
        return network
    # The weights are the same; crops, mirrors, what is erased and what is frozen is asked anew.
    anew = blank_network(asked)
    anew.load_state_dict(network.state_dict())
    return anew
