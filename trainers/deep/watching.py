"""What an encoder in the making knows of classes, measured on images it does not learn from."""

from __future__ import annotations

import numpy as np
import torch

from trainers.base import Examples, Images
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.logistic import fit_logistic
from trainers.deep.neighbours import neighbour_log_probs
from trainers.deep.scoring import block_size, evaluating

NEIGHBOURS = 20
TEMPERATURE = 0.07
L2 = 10.0


def watch(
    encoder: torch.nn.Module, images: Images, watched: Examples, mode: Mode, device: str
) -> dict[str, float]:
    """Accuracies on every other image, by neighbours and by a linear head of the rest.

    The settings are fixed, so nothing is chosen; `trainers.evaluating` does it properly, once.

    Args:
        encoder: Its statistics stay as they are.
        images: The packed file.
        watched: At least two.
        mode: Precision and layout.
        device: Where the encoder is.
    """
    embeddings = _embed(encoder, images, watched, mode, device)
    known, asked = slice(0, None, 2), slice(1, None, 2)
    labels, num_classes = watched.labels, int(watched.labels.max()) + 1
    by_neighbours = neighbour_log_probs(
        embeddings[known],
        labels[known],
        embeddings[asked],
        num_classes=num_classes,
        neighbours=(NEIGHBOURS,),
        temperature=TEMPERATURE,
    )[NEIGHBOURS]
    mean, std = embeddings[known].mean(0), embeddings[known].std(0) + 1e-6
    scaled = (embeddings - mean) / std
    head = fit_logistic(scaled[known], labels[known], num_classes, l2=L2, max_iterations=200)
    by_head = scaled[asked] @ head.weight.T + head.bias
    return {
        "watched/knn_accuracy": float((by_neighbours.argmax(1) == labels[asked]).mean()),
        "watched/linear_accuracy": float((by_head.argmax(1) == labels[asked]).mean()),
    }


def _embed(
    encoder: torch.nn.Module, images: Images, watched: Examples, mode: Mode, device: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    pixels, normalise = Pixels(images, watched.rows, device), Normaliser(images, device)
    size, parts = block_size(pixels.shape, device), []
    with evaluating(encoder), mode.autocast(device):
        for rows in torch.arange(len(pixels)).split(size):  # type: ignore[no-untyped-call]
            parts.append(encoder(mode.arrange(normalise(pixels.take(rows)))).float().cpu())
    return torch.cat(parts).numpy()
