"""Graph cut: typical of the pool, and not of each other."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks
from strategies.by_similarity import SimilarityStrategy
from strategies.kernels.cut import cut


class GraphCut(SimilarityStrategy):
    """Asks for samples that resemble the candidates much and each other little.

    Greedily makes ``Σ_i Σ_{j in S} s_ij - λ Σ_{i, j in S} s_ij`` large: the similarity
    ``s = (cos + 1) / 2`` of the batch S to all candidates i, less λ times that within the batch,
    both orders of a pair and each sample with itself counted. The score is what a pick adds.

    Reference: Iyer, Khargonkar, Bilmes & Asnani 2021, "Submodular combinatorial information
    measures with applications in machine learning", ALT, https://arxiv.org/abs/2006.15412, for the
    function; Kothawade, Beck, Killamsetty & Iyer 2021, "SIMILAR: submodular information measures
    based active learning in realistic scenarios", https://arxiv.org/abs/2107.00717, for its use.
    Cost: O(N D) time for the first pick and rarely more than O(B² D) after it; O(B D) extra memory.
    Use: a fast and plain mixture of typical and diverse. Since the first sum runs over the whole
    pool and the second over the batch, a small batch is little more than the samples nearest the
    mean; raise λ towards N / B for more diversity. `facility_location` needs no such weighing.
    Differs: gains below zero do not end the batch (above λ = 1/2 the function may fall).
    """

    name: Literal["graph_cut"] = "graph_cut"
    trade_off: float = Field(1.0, ge=0, le=1e6)
    """λ, the weight of likeness within the batch. Up to 1/2 the function never falls."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        greedy = cut(self.similarity(candidates), batch_size, self.trade_off)
        return Picks(rows=greedy.rows, scores=greedy.gains)
