"""Whole learners out of other people's checkpoints: encoder, head, and attention where there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from trainers.base import TrainingError
from trainers.deep.compute import Mode
from trainers.deep.importing import read_encoder_file, state_dict_of
from trainers.deep.networks import (
    Network,
    blank_network,
    plan_network,
    save_learner,
    shapes_of,
    with_centers,
    with_views,
)
from trainers.deep.start import record_of
from trainers.fer_classifier import FERClassifier

HEADS = ("fc", "linear", "lin3", "VIT.head.linear", "head.linear", "head", "classifier")
"""What the last layer is called: torchvision's and DACL's, ActiveFER's, the VGG's, POSTER's."""

ATTENTION = {"attention.attention.": "attention.", "attention.heads.": "attention_heads."}
"""Our names of DACL's attention network, and its file's."""


def adopt_learner(
    trainer: FERClassifier,
    file: Path,
    to: Path,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> dict[str, tuple[str, ...]]:
    """See `FERClassifier.adopt`."""
    encoder = trainer.encoder.model_copy(update={"weights": file, "pretrain": None, "parts": {}})
    plan, imported = plan_network(
        encoder,
        image_channels=image_shape[2],
        num_classes=num_classes,
        dropout=trainer.dropout,
    )
    assert imported is not None  # it has a file
    assert imported.report is not None  # of which it took what fits
    plan = with_centers(plan, trainer.center_loss, image_shape[:2])
    plan = with_views(plan, trainer.crops, mirrors=trainer.flip_averaging)
    found = read_encoder_file(file, encoder, shapes_of(plan).keys())
    # Under their bare names too, as a head may stand outside of the encoder's prefix.
    whole = {name.removeprefix("module."): each for name, each in state_dict_of(file).items()}
    around = {**whole, **found.tensors}
    network = blank_network(replace(plan, frozen=()))
    state = {f"encoder.{name}": tensor for name, tensor in imported.tensors.items()}
    state |= _head(file, around, network)
    if plan.attention:
        state |= _attention(file, around, network)
    missing: tuple[str, ...] = ()
    if plan.has_centers:
        # They live in the loss of DACL's code and are not saved; scores do not depend on them.
        state["centers"] = torch.zeros(num_classes, network.embedding_width)
        missing = ("centers",)
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    )
    mode = Mode("float32", channels_last=True, threads=torch.get_num_threads())
    meta = {"mode": asdict(mode), "adopted_from": str(file), "origin": record_of(file)}
    save_learner(to, network, meta)
    taken = {name.removeprefix("encoder.") for name in state}
    ignored = tuple(name for name in imported.report.ignored if not _is_taken(name))
    return {"matched": tuple(sorted(taken - set(missing))), "missing": missing, "ignored": ignored}


def _head(file: Path, tensors: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    wanted = network.head.linear.weight.shape
    for name in HEADS:
        weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
        if weight is None or bias is None:
            continue
        if weight.shape != wanted:
            raise TrainingError(
                f"{file}: its head {name} is {tuple(weight.shape)}, {tuple(wanted)} (classes, "
                "embedding) is needed; name as many classes as it has"
            )
        return {"head.linear.weight": weight, "head.linear.bias": bias}
    raise TrainingError(
        f"{file} holds an encoder and no head (none of {', '.join(HEADS)}); use it as "
        "encoder.weights instead"
    )


def _attention(file: Path, tensors: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    state = {}
    for name, ours in network.state_dict().items():
        for start, theirs in ATTENTION.items():
            if name.startswith(start):
                tensor = tensors.get(theirs + name[len(start) :])
                if tensor is None or tensor.shape != ours.shape:
                    raise TrainingError(
                        f"{file} has no attention network of this size: {tuple(ours.shape)} is "
                        f"needed of {theirs}{name[len(start) :]}; set center_loss.hidden, or leave "
                        "center_loss out"
                    )
                state[name] = tensor
    return state


def _is_taken(name: str) -> bool:
    bare = name.removeprefix("module.")
    return bare.startswith(tuple(ATTENTION.values())) or any(
        bare in (f"{head}.weight", f"{head}.bias") for head in HEADS
    )
