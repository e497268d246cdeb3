"""CLUE: clusters drawn to where the learner is unsure."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.kmeans import pool_of
from strategies.kmeans import pick_clusters
from strategies.scores import LogProbs, entropy


class CLUE(EmbeddingStrategy):
    """Asks for the samples at the centres of clusters in which unsure samples weigh more.

    As `kmeans`, but each sample counts with the entropy of its predicted distribution, softened by
    `temperature`: seeds are drawn and centres are means by that weight. If no sample has entropy,
    all count the same. The score is the distance to the centre.

    Reference: Prabhu, Chandrasekaran, Saenko & Hoffman 2021, "Active domain adaptation via
    clustering uncertainty-weighted embeddings", https://arxiv.org/abs/2010.08666.
    Cost: As `kmeans`: O(N B D) for a pass over the pool, some 5 to 30 passes.
    Use: When the pool has drifted from what is labelled, or between few labels and many: it needs
    both embeddings and probabilities worth something. For a first batch take `typiclust`.
    Differs: The paper's temperature is 1 for most of its data and smaller where classes are many;
    that, and distinct nearest samples for centres, follow public code and are not checked against
    the paper's text. Once all samples with weight lie on a centre, seeding ends, and the centres
    there are take turns until B samples are asked for.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs", "embeddings"})
    is_prefix: ClassVar[bool] = False
    name: Literal["clue"] = "clue"
    temperature: float = Field(1.0, gt=0)
    """What log-probabilities are divided by: above 1, weights differ less; below, more."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        assert candidates.log_probs is not None  # check_request saw that `needs` are given
        assert candidates.embeddings is not None
        weights = softened_entropy(candidates.log_probs, self.temperature)
        if not weights.any():
            weights = np.ones_like(weights)
        return pick_clusters(pool_of(candidates.embeddings), batch_size, rng, weights=weights)


def softened_entropy(log_probs: LogProbs, temperature: float) -> Doubles:
    """The entropy of softmax(log p / temperature): (N, C) -> (N,), in [0, log C]."""
    if temperature == 1:
        return entropy(log_probs)
    # The likeliest class is at 0, so that no temperature makes all exponentials vanish.
    scaled = (log_probs - log_probs.max(axis=1, keepdims=True)).astype(np.float64) / temperature
    total = np.exp(scaled).sum(axis=1, keepdims=True)
    return entropy(scaled - np.log(total))
