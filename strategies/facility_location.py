"""Facility location: a batch in which every candidate finds someone like itself."""

from __future__ import annotations

from typing import Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, Signal
from strategies.by_similarity import SimilarityStrategy
from strategies.kernels.coverage import cover
from strategies.kernels.similarity import Similarity


class FacilityLocation(SimilarityStrategy):
    """Asks for samples that together resemble every candidate.

    Greedily makes ``Σ_i max_{j in S} s_ij`` large, the sum over all candidates i of their
    similarity ``s = (cos + 1) / 2`` to the nearest pick. The score is what a pick adds to it: about
    how many candidates it stands for, times how much better than earlier picks.

    Reference: Nemhauser, Wolsey & Fisher 1978, "An analysis of approximations for maximizing
    submodular set functions I", Mathematical Programming 14 (greedy is within 1 - 1/e of the best);
    Wei, Iyer & Bilmes 2015, "Submodularity in data subset selection and active learning", ICML, for
    its use here.
    Cost: O(N² D log B) time at most, mostly for the first few picks; 0.5 GB extra memory.
    Use: a seed set or a small budget, from embeddings that are good already. It knows nothing of
    doubt; later rounds profit from `fass`, `uherding` or `badge`.
    Differs: exact where others sample or cut the pool. Similarities are rounded to 1e-8 or so, that
    samples which are equal tie.
    """

    name: Literal["facility_location"] = "facility_location"
    given_labelled: bool = False
    """Whether labelled samples count as picked before, so that the batch stands for what they do
    not; otherwise the batch by itself is to resemble the candidates."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        return super().needs | (self.needs_of_labelled if self.given_labelled else frozenset())

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        result = cover(similarity, batch_size, reached=self._reached(similarity, candidates))
        return Picks(
            rows=result.rows,
            scores=result.gains,
            notes={"mean_similarity": float(result.reached.mean())},
            maps={"stands_for": result.stands_for},
        )

    def _reached(self, similarity: Similarity, candidates: Candidates) -> Doubles | None:
        if not self.given_labelled:
            return None
        labelled = self.labelled(similarity, candidates)
        return similarity.nearest(labelled) if len(labelled) else None
