"""Feature-based coverage: some of every feature, and ever less of the same."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Picks, Signal
from strategies.families import EmbeddingStrategy
from strategies.kernels.concave import Concave, concave_greedy


class FeatureBased(EmbeddingStrategy):
    """Asks for samples that together show much of every feature, the more of the same the less.

    Greedily makes ``Σ_f ψ(Σ_{j in S} x_jf)`` large, where x are embeddings read as amounts of
    features and ψ grows ever more slowly. The score is what a pick adds.

    Reference: Wei, Iyer & Bilmes 2015, "Submodularity in data subset selection and active
    learning", ICML; Kirchhoff & Bilmes 2014, "Submodularity for data selection in statistical
    machine translation", EMNLP, for the function.
    Cost: O(N D) time for the first pick and rarely a tenth of that after it; O(N) extra memory.
    Use: where single features mean something, as after a ReLU; no pair is compared, so it scales to
    millions. Long embeddings are asked for first.
    Differs: features must not be negative. Here negative values are features of their own
    (`negative`), which changes nothing where there are none.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings"})
    name: Literal["feature_based"] = "feature_based"
    concave: Concave = "log1p"
    """ψ: `log1p`, log(1 + t); `sqrt`, which saturates less; `inverse`, t / (1 + t), which saturates
    most."""

    negative: Literal["own_feature", "zero"] = "own_feature"
    """What becomes of a value below zero: its size is the amount of a feature of its own
    (`own_feature`), or it counts as `zero`."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        assert candidates.embeddings is not None  # check_request saw that `needs` are given
        greedy = concave_greedy(
            candidates.embeddings, batch_size, self.concave, split=self.negative == "own_feature"
        )
        return Picks(rows=greedy.rows, scores=greedy.gains)
