"""Core-set: cover the pool with as few labelled points as possible."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Picks, QueryStrategy, Signal
from strategies.kernels.kcentre import k_centre


class CoreSet(QueryStrategy):
    """Asks, again and again, for the sample farthest from everything labelled or asked for.

    Sener & Savarese 2018, "Active learning for convolutional neural networks: a core-set approach",
    https://arxiv.org/abs/1708.00489, algorithm 1 (greedy k-centre, Euclidean distance). The score
    is the distance when picked. Differs: the mixed-integer refinement is not run. With nothing
    labelled yet, the first pick is the sample nearest the mean of the pool, scored by that
    distance.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "labelled_embeddings"})
    name: Literal["coreset"] = "coreset"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, labelled = candidates.embeddings, candidates.labelled_embeddings
        assert embeddings is not None  # check_request saw that `needs` are given
        assert labelled is not None
        rows, distances = k_centre(embeddings, batch_size, labelled)
        return Picks(rows=rows, scores=distances)
