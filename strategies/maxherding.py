"""MaxHerding: cover the pool softly."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.coverage import cover
from strategies.kernels.similarity import Similarity, gaussian


class MaxHerding(EmbeddingStrategy):
    """Asks for the sample that adds most to how well the pool is covered, near ones counting more.

    A candidate is covered as well as its nearest labelled or picked sample is near:
    ``max_j exp(-d² / h²)``, by distances d between embeddings of unit length. The next pick adds
    most to the sum over all candidates, and that is its score.

    Reference: Bae, Noh & Sutherland 2024, "Generalized coverage for more robust low-budget active
    learning", ECCV, https://arxiv.org/abs/2407.12212.
    Cost: O(N² D) time once, and up to log B times that with few labels; 0.5 GB extra memory.
    Use: the first rounds, with a few labels a class, on embeddings that are good already, such as
    those of a self-supervised encoder. Less sensitive to its width than `probcover` to its radius.
    Differs: the sum runs over the candidates, since labelled samples are covered in full; nothing
    is sampled. How h is defined follows our reading, not checked against the paper's text.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "labelled_embeddings"})
    name: Literal["maxherding"] = "maxherding"
    width: float = Field(1.0, ge=1e-3, le=1e3)
    """h, the distance at which a sample is covered by 1/e; two of unit length are 2 apart at most,
    and 1.41 if they have nothing in common."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, labelled = candidates.embeddings, candidates.labelled_embeddings
        assert embeddings is not None  # check_request saw that `needs` are given
        assert labelled is not None
        similarity = Similarity.of_embeddings(embeddings, shape=gaussian(self.width))
        reached = similarity.nearest(similarity.outside(labelled)) if len(labelled) else None
        result = cover(similarity, batch_size, reached=reached)
        return Picks(
            rows=result.rows,
            scores=result.gains,
            notes={"coverage": float(result.reached.mean())},
            maps={"stands_for": result.stands_for},
        )
