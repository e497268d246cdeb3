"""Submodular conditional gain: batches that add to a private set, and so keep away from it.

With a function f that says how much a set holds, ``f(S | P) = f(S + P) - f(P)`` is what a batch S
adds to a private set P. Each class takes another f. With an empty private set it is f itself.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks
from strategies.kernels.cholesky import directions_of, log_det_greedy
from strategies.kernels.coverage import cover
from strategies.kernels.cut import cut
from strategies.kernels.queries import sums_and_largest
from strategies.targets import PrivateTargeted, without_gain


class FLCG(PrivateTargeted):
    """Represents what the private set does not represent.

    Facility location over the candidates: a batch S is worth Σ_i max(max_{j∈S} s_ij - ν max_{p∈P}
    s_ip, 0) over candidates i, and picked greedily. The score is what a pick adds. Once all
    candidates resemble the private set more than each other nothing is left to add: scores are 0,
    and the rest goes by id.

    Reference: Kothawade, Kaushal, Ramakrishnan, Bilmes & Iyer 2022, "PRISM: a rich class of
    parameterized submodular information measures for guided data subset selection",
    https://arxiv.org/abs/2103.00128 (FLCG); Kothawade, Beck, Killamsetty & Iyer 2021, "SIMILAR:
    submodular information measures based active learning in realistic scenarios",
    https://arxiv.org/abs/2107.00717, for its use in active learning.
    Cost: that of `facility_location`, O(N² D log B) time at most and 0.5 GB of memory, and O(N D)
    for each named sample.
    Use: for a pool with redundancy: with everything labelled for a private set it does not ask
    again for what is labelled already. Needs no label to begin with.
    Differs: gradients are taken without bias, where the authors' code takes them with it.
    """

    name: Literal["flcg"] = "flcg"

    nu: float = Field(default=1.0, ge=0)
    """ν, how much similarity to the private set counts against a candidate."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        privates = self.privates(similarity, candidates)
        reached = self.nu * similarity.nearest(privates)
        found = cover(similarity, batch_size, reached=reached)
        return Picks(
            rows=found.rows,
            scores=found.gains,
            notes={"num_private": len(privates), "without_gain": without_gain(found.gains)},
            maps={"stands_for": found.stands_for},
        )


class GCCG(PrivateTargeted):
    """Asks for samples like the candidates, but unlike the private set and unlike each other.

    The graph cut: a batch S is worth Σ_i Σ_{j∈S} s_ij over candidates i, less λ Σ_{i,j∈S} s_ij,
    less 2 λ ν Σ_{j∈S} Σ_{p∈P} s_jp, and picked greedily. The score is what a pick adds, which may
    be negative.

    Reference: Kothawade et al. 2022, "PRISM", https://arxiv.org/abs/2103.00128 (GCCG).
    Cost: O(N P D) time for a private set of P samples, then as `graph_cut`: rarely more than
    O(B² D); O(B D) extra memory.
    Use: `graph_cut` for rounds after the first, since with everything labelled for a private set it
    remembers earlier batches. All sums grow with their sets: with P samples labelled and N
    candidates, likeness to the pool decides while λ P is small beside N.
    Differs: gains below zero do not end the batch. Gradients are taken without bias.
    """

    name: Literal["gccg"] = "gccg"

    nu: float = Field(default=1.0, ge=0, le=1e6)
    """ν, how much similarity to the private set counts against a candidate."""

    trade_off: float = Field(default=1.0, ge=0, le=1e6)
    """λ, the weight of likeness within the batch and, times ν, to the private set."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        privates = self.privates(similarity, candidates)
        sums, _ = sums_and_largest(similarity, privates)
        greedy = cut(similarity, batch_size, self.trade_off, shared=self.nu * sums)
        notes = {"num_private": len(privates)}
        return Picks(rows=greedy.rows, scores=greedy.gains, notes=notes)


class LogDetCG(PrivateTargeted):
    """Asks for the sample that adds most volume to the private set and the earlier picks.

    With K of similarities (cos + 1)/2 and λ on its diagonal, a batch S is worth
    log det(K_S - ν² K_SP K_P⁻¹ K_PS), and picked greedily. The score is what a pick adds, which
    falls from pick to pick and may be negative.

    Reference: Kothawade et al. 2022, "PRISM", https://arxiv.org/abs/2103.00128 (LogDetCG).
    Cost: O(B N D) time at most, less since heights only fall, after O(N D min(P, D)) for a private
    set of P samples; extra memory (B + min(P, D)) D numbers. With gradients C * D in place of D.
    Use: for batches unlike what is labelled and diverse in themselves; like `log_det` it asks for
    outliers first.
    Differs: ν is at most 1, beyond which the matrix need not be positive definite. λ is on the
    diagonal of the private set's matrix, too. Gradients are taken without bias.
    """

    name: Literal["logdetcg"] = "logdetcg"

    nu: float = Field(default=1.0, ge=0, le=1)
    """ν, by which similarities of candidates to the private set are multiplied."""

    ridge: float = Field(default=1.0, ge=1e-6)
    """λ, added to the similarity of a sample with itself."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        privates = self.privates(similarity, candidates)
        known = self.nu * directions_of(privates, ridge=self.ridge)
        greedy = log_det_greedy(similarity, batch_size, ridge=self.ridge, known=known)
        notes = {"num_private": len(privates)}
        return Picks(rows=greedy.rows, scores=greedy.gains, notes=notes)
