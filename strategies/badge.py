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

    A sample's gradient is that of the loss if its likeliest class were its label: long where the
    learner is unsure. The first pick has the longest; each further one is drawn in proportion to
    the squared distance to the nearest earlier pick. That distance is the score, for the first pick
    the squared length.

    Reference: Ash, Zhang, Krishnamurthy, Langford & Agarwal 2020, "Deep batch active learning by
    diverse, uncertain gradient lower bounds", https://arxiv.org/abs/1906.03671, algorithm 1.
    Cost: O(B N (C + D)) time, O(N C) extra memory.
    Use: the first choice for batches of hundreds, and where classes are imbalanced or the pool
    repeats itself. For a few samples at a time `margin` does as well and is cheaper.
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
