"""Pools on which a strategy may go wrong, small enough to check by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from strategies import Candidates, Head, Validation

Array = npt.NDArray[np.float64]

POOLS = [
    "spread",
    "clusters",
    "duplicates",
    "all_equal",
    "zero_rows",
    "one_class",
    "saturated",
    "impossible_classes",
    "nothing_labelled",
    "one_item",
    "far_from_origin",
]


def log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def build_pool(kind: str, num: int = 60, width: int = 6, classes: int = 4) -> Candidates:
    """A pool of the named kind; ids count up from 100."""
    rng = np.random.default_rng(POOLS.index(kind))
    num = 1 if kind == "one_item" else num
    classes = 1 if kind == "one_class" else classes
    points = rng.standard_normal((num, width))
    logits = 2 * rng.standard_normal((num, classes))
    num_labelled = 0 if kind == "nothing_labelled" else 5
    labelled = rng.standard_normal((num_labelled, width))
    if kind == "clusters":
        points = points * 1e-3 + 100 * rng.integers(0, 4, (num, 1))
    if kind == "duplicates":
        points, logits = points[np.arange(num) % 7], logits[np.arange(num) % 7]
        labelled[0] = points[0]
    if kind == "all_equal":
        points[:], logits[:] = points[0], logits[0]
    if kind == "zero_rows":
        points[::3] = 0
    if kind == "far_from_origin":
        points += 1e4
        labelled += 1e4
    log_probs = log_softmax(logits)
    if kind == "saturated":
        log_probs = np.where(np.eye(classes)[rng.integers(0, classes, num)] > 0, 0.0, -np.inf)
    if kind == "impossible_classes":
        log_probs = log_softmax(np.where(np.arange(classes) == 1, -np.inf, logits))
    return Candidates(
        ids=np.arange(100, 100 + num),
        log_probs=log_probs.astype(np.float32),
        embeddings=points.astype(np.float32),
        labelled_ids=np.arange(num_labelled),
        labelled_embeddings=labelled.astype(np.float32),
        **more_signals(kind, log_probs, width, num_labelled),
    )


def more_signals(kind: str, log_probs: Array, width: int, num_labelled: int) -> dict[str, Any]:
    """What only some strategies read, in keeping with the kind of pool."""
    rng = np.random.default_rng(1000 + POOLS.index(kind))
    num, classes = log_probs.shape
    draws = 4
    noise = rng.standard_normal((num, draws, classes))
    if kind == "duplicates":
        noise = noise[np.arange(num) % 7]
    if kind == "all_equal":
        noise[:] = noise[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = log_probs[:, None] + np.where(np.isfinite(log_probs)[:, None], noise, 0.0)
    mc_log_probs = log_softmax(drawn.reshape(num * draws, classes)).reshape(drawn.shape)
    flips: Array = np.abs(noise[:, 0]).min(axis=1)
    flips[: num // 10] = np.inf  # classes that no attack could change
    labels = np.arange(num_labelled) % min(classes, 2)  # some classes have no label
    validation = Validation(
        log_probs=log_softmax(rng.standard_normal((8, classes))).astype(np.float32),
        embeddings=rng.standard_normal((8, width)).astype(np.float32),
        labels=rng.integers(0, classes, 8),
    )
    head = Head(
        weight=rng.standard_normal((classes, width)).astype(np.float32),
        bias=rng.standard_normal((classes,)).astype(np.float32),
    )
    return {
        "mc_log_probs": mc_log_probs.astype(np.float32),
        "flip_distances": flips.astype(np.float32),
        "labelled_log_probs": log_softmax(rng.standard_normal((num_labelled, classes))).astype(
            np.float32
        ),
        "labelled_labels": labels,
        "head": head,
        "validation": validation,
    }
