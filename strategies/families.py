"""What families of strategies share: a score for each candidate, a choice of embeddings."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from typing_extensions import override

from strategies.base import (
    Candidates,
    Computation,
    Doubles,
    EmbeddingSource,
    Picks,
    QueryStrategy,
)
from strategies.kernels.top import first_rows


class ScoreStrategy(QueryStrategy):
    """Scores each candidate by itself and asks for the best.

    A member implements `utilities`. `stochastic` can draw from them, `fass` can filter by them.
    """

    @abstractmethod
    def utilities(self, candidates: Candidates) -> Doubles:
        """How much each candidate is wanted: (N,), finite and >= 0; the largest is asked first."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        utilities = self.utilities(candidates)
        rows = first_rows(-utilities, batch_size)
        return Picks(rows=rows, scores=utilities[rows])


class EmbeddingStrategy(QueryStrategy):
    """Selects by distances between embeddings, whose source is declared."""

    embedding: EmbeddingSource = "learner"
    """Whose embeddings are read: `learner`, the network just trained, or `encoder`, the encoder as
    it was before any label (the one there is for a seed set)."""

    @property
    @override
    def computation(self) -> Computation:
        return Computation(embeddings=self.embedding)
