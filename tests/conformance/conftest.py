"""Pools on which two libraries can be compared: continuous random numbers, so nothing ties."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from pools import log_softmax

from strategies import Candidates, Head

SEEDS = (0, 1, 2)


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed{seed}")
def pool(request: pytest.FixtureRequest) -> Candidates:
    """400 candidates in 4 classes with 6 draws, 12 labelled; in float64, as the peers compute."""
    return drawn_pool(int(request.param))


def drawn_pool(
    seed: int, num: int = 400, width: int = 16, classes: int = 4, draws: int = 6, labelled: int = 12
) -> Candidates:
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((num, classes))
    noise = rng.standard_normal((num, draws, classes))
    return Candidates(
        ids=np.arange(num),
        log_probs=_doubles(log_softmax(logits)),
        embeddings=_doubles(rng.standard_normal((num, width))),
        mc_log_probs=_doubles(
            log_softmax((logits[:, None] + noise).reshape(-1, classes)).reshape(noise.shape)
        ),
        labelled_ids=np.arange(num, num + labelled),
        labelled_embeddings=_doubles(rng.standard_normal((labelled, width))),
        labelled_labels=np.arange(labelled) % classes,
        head=Head(
            weight=_doubles(rng.standard_normal((classes, width))),
            bias=_doubles(rng.standard_normal(classes)),
        ),
    )


def _doubles(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Values in float64, which `Candidates` takes although it is written for float32."""
    return values  # type: ignore[return-value]
