"""Random sampling: the baseline every other strategy has to beat."""

from __future__ import annotations

from typing import Literal

import numpy as np
from typing_extensions import override

from strategies.base import Candidates, Picks, QueryStrategy
from strategies.kernels.keyed import item_noise
from strategies.kernels.top import first_rows


class RandomSampling(QueryStrategy):
    """Asks for samples drawn uniformly without replacement; looks at nothing but their ids.

    One 64-bit key is drawn from `rng`; each id hashes to a number under that key, and the smallest
    are taken. A smaller batch is therefore a prefix of a larger one, and removing a sample from the
    pool changes nobody else's number. The score is that number, in [0, 1].

    Reference: the baseline of every paper, without one of its own. The hash ends in the mixing
    function of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
    generators", OOPSLA).
    Cost: O(N) time; no model is asked.
    Use: in every comparison, and for the first batch where there is no better idea. The labelled
    set stays a fair sample of the pool, which no other strategy here can say.
    """

    name: Literal["random"] = "random"

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        noise = item_noise(candidates.ids, key)
        rows = first_rows(noise, batch_size)
        return Picks(rows=rows, scores=noise[rows] / 2.0**64)
