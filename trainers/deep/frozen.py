"""An encoder as it was before any label, and what it makes of all images of a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trainers.base import Images, PredictTask
from trainers.deep.compute import Mode, Workload, choose_mode, hardware, repeatable
from trainers.deep.features import Features, features_of
from trainers.deep.images import open_packed
from trainers.deep.networks import Network, plan_network
from trainers.deep.outputs import blocks_of, path_of, rows_and_others, writing
from trainers.deep.start import fresh_network
from trainers.encoders import Encoder
from trainers.recipes import Compute

MEASURED_BATCH = 64
"""Images at a time where the compute mode is measured: nothing is trained, so no batch is set."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where and on what an encoder is run."""

    images: Images
    num_classes: int
    device: str
    cache_dir: Path


@dataclass(frozen=True, eq=False)
class Frozen:
    """An encoder that never changes."""

    network: Network  # with a head of zeros
    features: Features
    mode: Mode
    notes: dict[str, str]


def freeze(encoder: Encoder, compute: Compute, place: Place, seed: int = 0) -> Frozen:
    """The encoder of a file, what the file lacks drawn from `seed`, and its embeddings.

    Raises:
        TrainingError: The file does not fit the network.
    """
    height, width, channels = open_packed(place.images).shape[1:]
    device, cache_dir = place.device, place.cache_dir
    plan, imported = plan_network(
        encoder, image_channels=channels, num_classes=place.num_classes, dropout=0.0
    )
    network = fresh_network(plan, imported, seed)
    with torch.no_grad():
        network.head.linear.weight.zero_()
        network.head.linear.bias.zero_()
    # The number of classes is no part of the encoder, nor of what is known of it.
    workload = Workload(replace(plan, num_classes=2), (height, width), MEASURED_BATCH, device)
    mode = choose_mode(compute, workload, cache_dir)
    with repeatable(mode, device):
        mode.place(network, device)
        features = features_of(network, place.images, mode, device, cache_dir)
    notes = {
        "device": device,
        "hardware": hardware(device),
        "torch": torch.__version__,
        "precision": mode.precision,
        "channels_last": str(mode.channels_last),
        "threads": str(mode.threads),
        "weights": str(imported.report) if imported else f"drawn from seed {seed}",
    }
    return Frozen(network, features, mode, notes)


def write_encoder_embeddings(task: PredictTask, features: Features) -> Path:
    """Copies the embeddings of the rows and others asked for, (N + O, D)."""
    rows = rows_and_others(task)
    shape = (len(rows), features.values.shape[1])
    with writing(task, {"encoder_embeddings": shape}) as arrays:
        for block in blocks_of(len(rows)):
            arrays["encoder_embeddings"][block] = features.values[rows[block]]
    return path_of(task, "encoder_embeddings")
