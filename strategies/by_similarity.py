"""What strategies that compare candidates by similarity share: what it is measured on."""

from __future__ import annotations

from typing import Literal

from typing_extensions import override

from strategies.base import Candidates, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.similarity import Directions, Similarity


class SimilarityStrategy(EmbeddingStrategy):
    """Selects by similarities s = (cos + 1) / 2 in [0, 1], of embeddings or of gradients."""

    space: Literal["embeddings", "gradients"] = "embeddings"
    """Whose cosines: `embeddings`, what samples look like to the network, or `gradients`, of its
    last layer with the likeliest class for a label: also how and how surely they are classified."""

    @property
    @override
    def needs(self) -> frozenset[Signal]:
        if self.space == "embeddings":
            return frozenset({"embeddings"})
        return frozenset({"embeddings", "log_probs"})

    @property
    def needs_of_labelled(self) -> frozenset[Signal]:
        """What `labelled` reads, for the `needs` of those that compare with labelled samples."""
        if self.space == "embeddings":
            return frozenset({"labelled_embeddings"})
        return frozenset({"labelled_embeddings", "labelled_log_probs"})

    def similarity(self, candidates: Candidates) -> Similarity:
        """Similarities with the candidates."""
        assert candidates.embeddings is not None  # check_request saw that `needs` are given
        if self.space == "embeddings":
            return Similarity.of_embeddings(candidates.embeddings)
        assert candidates.log_probs is not None
        return Similarity.of_gradients(candidates.log_probs, candidates.embeddings)

    def labelled(self, similarity: Similarity, candidates: Candidates) -> Directions:
        """The labelled samples, (M,), as `similarity` compares them."""
        assert candidates.labelled_embeddings is not None
        if self.space == "embeddings":
            return similarity.outside(candidates.labelled_embeddings)
        return similarity.outside(candidates.labelled_embeddings, candidates.labelled_log_probs)
