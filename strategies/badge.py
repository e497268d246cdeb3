"""BADGE: unsure and unlike each other."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Picks, QueryStrategy, Signal
from strategies.kernels.gradients import Gradients
from strategies.kernels.kmeanspp import seed_centres


class BADGE(QueryStrategy):
    """k-means++ over hallucinated last-layer gradients: unsure and unlike each other.

    Ash, Zhang, Krishnamurthy, Langford & Agarwal 2020, "Deep batch active learning by diverse,
    uncertain gradient lower bounds", https://arxiv.org/abs/1906.03671, algorithm 1. The score is
    the squared gradient distance to the nearest earlier pick; for the first, the squared norm.
    Differs: gradients are kept as their two factors, so no backward pass is run and none is
    written out. As in the authors' code the first pick has the largest gradient, labelled
    samples are no centres, and the bias has no part.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs", "embeddings"})
    name: Literal["badge"] = "badge"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, embeddings = candidates.log_probs, candidates.embeddings
        assert log_probs is not None  # check_request saw that `needs` are given
        assert embeddings is not None
        rows, squares = seed_centres(Gradients.of(log_probs, embeddings), batch_size, rng)
        return Picks(rows=rows, scores=squares)
