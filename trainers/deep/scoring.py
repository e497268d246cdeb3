"""Images under a network that does not change: evaluation mode, evaluation transform, fixed grid.

Legend: ``N`` images, ``B`` of them at a time, ``C`` classes, ``D`` embedding width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainers.base import Examples, Images
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels, Viewed
from trainers.deep.networks import Network
from trainers.metrics import Counts, classification_metrics

PIXELS_AT_A_TIME = {"cpu": 2**18, "cuda": 2**20}
"""Bounds the activations of one block. On a CPU they should stay in its caches: on two cores,
blocks of 64 images of 48 px were scored about twice as fast as blocks of 256.
"""


@dataclass(frozen=True, eq=False)
class Scored:
    """One block of rows."""

    block: slice
    logits: Tensor  # (B, C)
    embeddings: Tensor  # (B, D)

    @property
    def log_probs(self) -> Tensor:
        """(B, C), natural logarithm."""
        return self.logits.log_softmax(dim=1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode and keeps no gradients."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(was_training)


def score(
    network: Network, pixels: Pixels | Viewed, normalise: Normaliser, mode: Mode, device: str
) -> Iterator[Scored]:
    """Scores all images block by block, in order; the grid depends on image size and device."""
    size = block_size(pixels.shape, device)
    with evaluating(network):
        for start in range(0, len(pixels), size):
            block = slice(start, min(start + size, len(pixels)))
            images = normalise(pixels.take(torch.arange(block.start, block.stop)))
            with mode.autocast(device):
                logits, embeddings = network(mode.arrange(images))
            yield Scored(block, logits, embeddings)


def block_size(image_shape: tuple[int, int, int], device: str) -> int:
    """Images at a time for images of this (H, W, Ch): a power of two between 16 and 512."""
    most = PIXELS_AT_A_TIME["cuda" if device.startswith("cuda") else "cpu"]
    fitting = most // (image_shape[0] * image_shape[1])
    return int(2 ** max(4, min(9, fitting.bit_length() - 1)))


def log_probs_of(
    network: Network, images: Images, examples: Examples, mode: Mode, device: str
) -> npt.NDArray[np.float32]:
    """(N, C) float32 of these examples, in their order."""
    if len(examples) == 0:
        return np.empty((0, network.plan.num_classes), np.float32)
    pixels = Pixels(images, examples.rows, device)
    blocks = score(network, pixels, Normaliser(images, device), mode, device)
    return np.concatenate([block.log_probs.cpu().numpy() for block in blocks])


def evaluate(
    network: Network, images: Images, examples: Examples, mode: Mode, device: str
) -> tuple[dict[str, float], Counts]:
    """Metrics and confusion matrix on these examples; where there are none, none and zeros."""
    return classification_metrics(
        log_probs_of(network, images, examples, mode, device), examples.labels
    )
