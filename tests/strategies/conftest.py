"""Pools on which a strategy may go wrong, small enough to check by brute force."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from strategies import Candidates

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
    shifted = logits - logits.max(axis=1, keepdims=True)
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
    )


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> Candidates:
    return build_pool(str(request.param))
