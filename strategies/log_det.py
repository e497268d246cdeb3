"""Log-determinant: a batch that spans as much volume as it can."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks
from strategies.by_similarity import SimilarityStrategy
from strategies.kernels.cholesky import log_det_greedy


class LogDet(SimilarityStrategy):
    """Asks for the sample that adds most volume to those asked for before.

    Greedy maximisation of log det(K + λI), where K holds the similarities (cos + 1)/2 of the batch:
    the most likely set of a determinantal point process. The score is what a pick adds, the
    logarithm of its squared height over the earlier ones, which falls from pick to pick and may be
    negative.

    Reference: Kulesza & Taskar 2012, "Determinantal point processes for machine learning",
    https://arxiv.org/abs/1207.6083, on finding the mode; Chen, Zhang & Zhou 2018, "Fast greedy MAP
    inference for determinantal point process to improve recommendation diversity",
    https://arxiv.org/abs/1709.05135, for the incremental Cholesky factor.
    Cost: O(B N D) time at most, less since heights only fall; extra memory B * D numbers, with
    gradients B * C * D.
    Use: for diverse batches where coverage of the pool does not matter. It asks for outliers
    first and knows neither labels nor, unless by gradients, uncertainty; `facility_location`
    represents the pool instead, `logdetcg` keeps away from what is labelled.
    Differs: λ is added to every diagonal entry, so duplicates and rows of zeros are legal; the
    sources take a positive definite matrix.
    """

    name: Literal["log_det"] = "log_det"

    ridge: float = Field(default=1.0, ge=1e-6)
    """λ, added to the similarity of a sample with itself. Small values punish near-duplicates
    hardest; large ones make all samples alike."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        greedy = log_det_greedy(self.similarity(candidates), batch_size, ridge=self.ridge)
        return Picks(rows=greedy.rows, scores=greedy.gains)
