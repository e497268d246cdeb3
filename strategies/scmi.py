"""Submodular conditional mutual information: like a query set, and unlike a private set.

With a function f that says how much a set holds, ``I(S; Q | P) = f(S + P) + f(Q + P) - f(S + Q + P)
- f(P)`` is what a batch S and a query set Q share beyond a private set P. Each class takes another
f. With an empty private set it is the mutual information of `strategies.smi`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks
from strategies.kernels.cholesky import directions_of, log_det_ratio_greedy
from strategies.kernels.coverage import cover
from strategies.kernels.similarity import Directions, Similarity
from strategies.targets import PrivateTargeted, QueryTargeted, without_gain


class QueryAndPrivate(QueryTargeted, PrivateTargeted):
    """Looks for what resembles a query set and not a private set."""

    def both(self, similarity: Similarity, candidates: Candidates) -> tuple[Directions, Directions]:
        """The directions of the query set, and of the private set without the query set."""
        query = self.find_query(candidates)
        private = self.find_private(candidates).without(query)
        return (
            self.directions(similarity, candidates, query),
            self.directions(similarity, candidates, private),
        )


class FLCMI(QueryAndPrivate):
    """Represents the pool as far as the query set does and the private set does not.

    Facility location over the candidates: a batch S is worth Σ_i max(min(max_{j∈S} s_ij, η
    max_{q∈Q} s_iq) - ν max_{p∈P} s_ip, 0) over candidates i, and picked greedily. The score is what
    a pick adds. Once nothing is left to add, scores are 0, and the rest goes by id.

    Reference: Kothawade, Kaushal, Ramakrishnan, Bilmes & Iyer 2022, "PRISM: a rich class of
    parameterized submodular information measures for guided data subset selection",
    https://arxiv.org/abs/2103.00128 (FLCMI); Kothawade, Beck, Killamsetty & Iyer 2021, "SIMILAR:
    submodular information measures based active learning in realistic scenarios",
    https://arxiv.org/abs/2107.00717, for its use in active learning.
    Cost: that of `facility_location`, O(N² D log B) time at most and 0.5 GB of memory, and O(N D)
    for each named sample.
    Use: to look for a class among much that resembles it, by naming what to avoid. With a
    private set of everything else labelled often few candidates are nearer to the query set,
    so gains run out early (the note `without_gain` counts the picks that added nothing): lower ν or
    name a smaller private set then.
    Differs: in the paper as we read it this function has no parameters. η scales the query side and
    ν the private side, as in `fl1mi` and `flcg`. Gradients are taken without bias.
    """

    name: Literal["flcmi"] = "flcmi"

    eta: float = Field(default=1.0, ge=0)
    """η, how much of a candidate's similarity to the query set the batch may reach."""

    nu: float = Field(default=1.0, ge=0)
    """ν, how much similarity to the private set counts against a candidate."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        queries, privates = self.both(similarity, candidates)
        found = cover(
            similarity,
            batch_size,
            reached=self.nu * similarity.nearest(privates),
            caps=self.eta * similarity.nearest(queries),
        )
        return Picks(
            rows=found.rows,
            scores=found.gains,
            notes={
                "num_queries": len(queries),
                "num_private": len(privates),
                "without_gain": without_gain(found.gains),
            },
            maps={"stands_for": found.stands_for},
        )


class LogDetCMI(QueryAndPrivate):
    """Asks for the samples that tell most about the query set beyond what the private set tells.

    With K of similarities (cos + 1)/2 and λ on its diagonal, a batch S is worth
    log det K_S|P - log det(K_S|P - η² K_SQ|P K_Q|P⁻¹ K_QS|P), and picked greedily, where
    K_XY|P = K_XY - K_XP K_P⁻¹ K_PY, with ν² before the second term in K_S|P. The score is what a
    pick adds.

    Reference: Kothawade et al. 2022, "PRISM", https://arxiv.org/abs/2103.00128 (LogDetCMI).
    Cost: O(B N D) time, every pick looks at all candidates, after O(N D min(P, D)) for a private
    set of P samples; extra memory (2 B + min(P, D)) D numbers. With gradients C * D in place of D.
    Use: to find more of a class, apart from what it has in common with everything else that is
    labelled.
    Differs: in the paper as we read it this function has no parameters. Here ν weighs what the
    private set tells of the batch, and η what the query set tells beyond it; so all matrices stay
    positive definite up to η = ν = 1, where it is the definition; to multiply the blocks of one
    matrix by η and ν would not ensure that. As it is not submodular, no bound on the greedy batch
    is known. Gradients are taken without bias.
    """

    name: Literal["logdetcmi"] = "logdetcmi"

    eta: float = Field(default=1.0, ge=0, le=1)
    """η, how much what the query set tells beyond the private set counts."""

    nu: float = Field(default=1.0, ge=0, le=1)
    """ν, how much of what the private set tells is taken for known."""

    ridge: float = Field(default=1.0, ge=1e-6)
    """λ, added to the similarity of a sample with itself."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        queries, privates = self.both(similarity, candidates)
        known = directions_of(privates, ridge=self.ridge)
        asked = directions_of(queries, ridge=self.ridge, known=known)
        greedy = log_det_ratio_greedy(
            similarity,
            batch_size,
            ridge=self.ridge,
            known=self.nu * known,
            asked=self.eta * asked,
        )
        notes = {"num_queries": len(queries), "num_private": len(privates)}
        return Picks(rows=greedy.rows, scores=greedy.gains, notes=notes)
