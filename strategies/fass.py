"""FASS: first the unsure, then those among them that stand for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks, Signal
from strategies.by_similarity import SimilarityStrategy
from strategies.families import ScoreStrategy
from strategies.kernels.coverage import cover
from strategies.uncertainty import EntropySampling, LeastConfidence, MarginSampling

Uncertainty = Literal["entropy", "margin", "least_confidence"]

_FILTERS: Mapping[Uncertainty, ScoreStrategy] = {
    "entropy": EntropySampling(),
    "margin": MarginSampling(),
    "least_confidence": LeastConfidence(),
}


class FASS(SimilarityStrategy):
    """Keeps the unsurest candidates and asks for those of them that stand for all of them.

    The `factor` times B unsurest candidates are kept, by one of three scores; among these the batch
    is picked by `facility_location`, which looks at no others. The score is what a pick adds to the
    similarity of the kept ones to the batch.

    Reference: Wei, Iyer & Bilmes 2015, "Submodularity in data subset selection and active
    learning", ICML (filtered active submodular selection).
    Cost: O(N C) time for the filter and O(B² factor² D) after it.
    Use: as uncertainty sampling, without batches that repeat themselves. `badge` does both at once
    and has no factor to choose.
    Differs: facility location by the cosine of embeddings or gradients, as in DISTIL, where the
    paper also has functions within hypothesised classes.
    """

    is_prefix: ClassVar[bool] = False
    name: Literal["fass"] = "fass"
    uncertainty: Uncertainty = "entropy"
    """By what candidates are kept."""

    factor: int = Field(5, ge=1)
    """How many times B candidates are kept."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        return super().needs | {"log_probs"}

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        num_kept = min(self.factor * batch_size, len(candidates))
        unsure = _FILTERS[self.uncertainty].choose(candidates, num_kept, rng)
        kept = np.sort(unsure.rows)  # so that ties go to the smaller row
        result = cover(self.similarity(candidates.take(kept)), batch_size)
        stands_for = np.full(len(candidates), -1, np.int64)
        stands_for[kept] = result.stands_for
        return Picks(
            rows=kept[result.rows],
            scores=result.gains,
            notes={"kept": num_kept},
            maps={"stands_for": stands_for},
        )
