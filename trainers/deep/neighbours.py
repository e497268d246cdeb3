"""Classes by weighted votes of the nearest labelled embeddings.

Legend: ``M`` labelled, ``N`` asked, ``D`` embedding width, ``C`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

_BLOCK = 512


def neighbour_log_probs(
    labelled: Floats,
    classes: Classes,
    asked: Floats,
    *,
    num_classes: int,
    neighbours: Sequence[int],
    temperature: float,
) -> dict[int, Floats]:
    """(N, C) log-probabilities for each number of neighbours k.

    A neighbour votes for its class with exp(cosine / temperature); votes are scaled to sum to one
    (Wu et al. 2018, arXiv 1805.01978, section 3.4). Labelled embeddings that are equally far as the
    k-th share what is left of the k votes, so the answer does not hang on their order.

    Args:
        labelled: (M, D).
        classes: (M,) in [0, C).
        asked: (N, D).
        num_classes: C.
        neighbours: Each k; more than M counts as M.
        temperature: Above 0.
    """
    one_hot = np.zeros((len(classes), num_classes), np.float64)
    one_hot[np.arange(len(classes)), classes] = 1.0
    directions, found = _directions(labelled), _directions(asked)
    votes = {k: np.empty((len(asked), num_classes), np.float64) for k in neighbours}
    for start in range(0, len(asked), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosines = (found[block] @ directions.T).astype(np.float64)
        for k, into in votes.items():
            into[block] = _shares(cosines, min(k, len(classes)), temperature) @ one_hot
    return {k: np.log(each.clip(1e-12)).astype(np.float32) for k, each in votes.items()}


def _shares(
    cosines: npt.NDArray[np.float64], k: int, temperature: float
) -> npt.NDArray[np.float64]:
    """(n, M) weights of the labelled in each vote, summing to 1 along a row."""
    kth = -np.partition(-cosines, k - 1, axis=1)[:, k - 1 : k]
    nearer, tied = cosines > kth, cosines == kth
    left = k - nearer.sum(axis=1, keepdims=True)
    counted = nearer + tied * (left / tied.sum(axis=1, keepdims=True))
    weights = counted * np.exp((cosines - cosines.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _directions(embeddings: Floats) -> Floats:
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(norms, 1e-12), dtype=np.float32)
