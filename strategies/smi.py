"""Submodular mutual information: batches that tell of a query set.

With a function f that says how much a set holds, ``I(S; Q) = f(S) + f(Q) - f(S + Q)`` is how much
of it a batch S and a query set Q share. Each class takes another f. A query may be a candidate: it
then counts as a query and, if it is picked, once more as a pick.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks
from strategies.families import ScoreStrategy
from strategies.kernels.cholesky import directions_of, log_det_ratio_greedy
from strategies.kernels.coverage import cover
from strategies.kernels.queries import (
    Concave,
    concave_queries,
    cover_queries,
    sums_and_largest,
)
from strategies.targets import QueryTargeted, without_gain


class FL1MI(QueryTargeted):
    """Represents the pool, but each sample only as far as the query set does.

    Facility location over the candidates: a batch S is worth Σ_i min(max_{j∈S} s_ij, η max_{q∈Q}
    s_iq) over candidates i, and picked greedily. The score is what a pick adds. Once all candidates
    are as similar to the batch as to the query set, nothing is left to add: scores are 0, and the
    rest goes by id.

    Reference: Kothawade, Kaushal, Ramakrishnan, Bilmes & Iyer 2022, "PRISM: a rich class of
    parameterized submodular information measures for guided data subset selection",
    https://arxiv.org/abs/2103.00128 (FLVMI); Kothawade, Beck, Killamsetty & Iyer 2021, "SIMILAR:
    submodular information measures based active learning in realistic scenarios",
    https://arxiv.org/abs/2107.00717, for its use in active learning.
    Cost: that of `facility_location`, O(N² D log B) time at most and 0.5 GB of memory, and O(N D)
    for each named sample.
    Use: to cover the part of a pool that resembles a few labelled samples, of a rare class
    say. With few queries relevance is weak, as most candidates resemble any of them somewhat;
    `fl2mi` and `gcmi` keep closer to the query set.
    Differs: gradients are taken without bias, where the authors' code takes them with it.
    """

    name: Literal["fl1mi"] = "fl1mi"

    eta: float = Field(default=1.0, ge=0)
    """η, how much of a candidate's similarity to the query set the batch may reach."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        queries = self.queries(similarity, candidates)
        caps = self.eta * similarity.nearest(queries)
        found = cover(similarity, batch_size, caps=caps)
        return Picks(
            rows=found.rows,
            scores=found.gains,
            notes={"num_queries": len(queries), "without_gain": without_gain(found.gains)},
            maps={"stands_for": found.stands_for},
        )


class FL2MI(QueryTargeted):
    """Represents the query set by the batch, and the batch by the query set.

    A batch S is worth Σ_q max_{j∈S} s_jq + η Σ_{j∈S} max_q s_jq, and picked greedily. The score is
    what a pick adds.

    Reference: Kothawade et al. 2022, "PRISM", https://arxiv.org/abs/2103.00128 (FLQMI).
    Cost: O(N Q D) for a query set of Q samples, then O(Q D) for each gain that is looked at again;
    extra memory N + Q numbers.
    Use: to find more of a class of which few samples are labelled: each query gets its
    nearest candidates, and with growing η relevance counts more than that.
    Differs: gradients are taken without bias.
    """

    name: Literal["fl2mi"] = "fl2mi"

    eta: float = Field(default=1.0, ge=0)
    """η, the weight of each pick's own relevance, which knows no diversity."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        queries = self.queries(similarity, candidates)
        greedy = cover_queries(similarity, queries, batch_size, eta=self.eta)
        notes = {"num_queries": len(queries)}
        return Picks(rows=greedy.rows, scores=greedy.gains, notes=notes)


class GCMI(QueryTargeted, ScoreStrategy):
    """Asks for the samples most similar to the query set on average.

    The graph cut shared with the query set is 2λ Σ_{j∈S} Σ_q s_jq: a sum over picks, so the best
    batch is the best candidates. The score is a pick's term.

    Reference: Kothawade et al. 2022, "PRISM", https://arxiv.org/abs/2103.00128 (GCMI).
    Cost: O(N Q D) for a query set of Q samples; extra memory N numbers.
    Use: as the simplest search for more of the same: pure relevance. Picks may be as good as equal
    to each other; `com` and `fl2mi` spread them.
    Differs: gradients are taken without bias.
    """

    name: Literal["gcmi"] = "gcmi"

    trade_off: float = Field(default=1.0, gt=0)
    """λ. Scales the scores and changes no pick."""

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        similarity = self.similarity(candidates)
        sums, _ = sums_and_largest(similarity, self.queries(similarity, candidates))
        return 2 * self.trade_off * sums


class COM(QueryTargeted):
    """Resembles the query set, with ever less reward for resembling the same query again.

    A batch S is worth η Σ_{j∈S} ψ(Σ_q s_jq) + Σ_q ψ(Σ_{j∈S} s_jq) for a concave ψ, and picked
    greedily. The score is what a pick adds.

    Reference: Kothawade et al. 2022, "PRISM", https://arxiv.org/abs/2103.00128 (COM, concave over
    modular).
    Cost: O(N Q D) for a query set of Q samples, then O(Q D) for each gain that is looked at again;
    extra memory N + Q numbers.
    Use: between `gcmi`, which it becomes for a linear ψ, and `fl2mi`: every query keeps asking, the
    less the more it has. Since all similarities are positive, sums over a large batch grow alike
    and the order comes near that of `gcmi`.
    Differs: ψ is a parameter; `inverse` is x / (1 + x). Gradients are taken without bias.
    """

    name: Literal["com"] = "com"

    eta: float = Field(default=1.0, ge=0)
    """η, the weight of each pick's own relevance, which knows no diversity."""

    psi: Concave = "sqrt"
    """ψ: the root, log(1 + x), or `inverse`, x / (1 + x), which saturates soonest."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        queries = self.queries(similarity, candidates)
        greedy = concave_queries(similarity, queries, batch_size, eta=self.eta, psi=self.psi)
        notes = {"num_queries": len(queries)}
        return Picks(rows=greedy.rows, scores=greedy.gains, notes=notes)


class LogDetMI(QueryTargeted):
    """Asks for the samples that tell most about the query set beyond what earlier picks told.

    With K of similarities (cos + 1)/2 and λ on its diagonal, a batch S is worth log det K_S -
    log det(K_S - η² K_SQ K_Q⁻¹ K_QS), the mutual information of normal variables with covariance K,
    twice. The score is what a pick adds.

    Reference: Kothawade et al. 2022, "PRISM", https://arxiv.org/abs/2103.00128 (LogDetMI).
    Cost: O(B N D) time, every pick looks at all candidates; extra memory 2 B D numbers, with
    gradients 2 B C D.
    Use: to find more of a class and no near-duplicates. Large ridges make it `gcmi`-like: what
    samples have in common then counts, not what only they have.
    Differs: η is at most 1, beyond which the second matrix need not be positive definite. λ is on
    the diagonal of the query set's matrix, too. As it is not submodular, no bound on the greedy
    batch is known. Gradients are taken without bias.
    """

    name: Literal["logdetmi"] = "logdetmi"

    eta: float = Field(default=1.0, ge=0, le=1)
    """η, by which similarities of candidates to queries are multiplied: relevance before
    diversity."""

    ridge: float = Field(default=1.0, ge=1e-6)
    """λ, added to the similarity of a sample with itself."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(candidates)
        queries = self.queries(similarity, candidates)
        asked = self.eta * directions_of(queries, ridge=self.ridge)
        greedy = log_det_ratio_greedy(similarity, batch_size, ridge=self.ridge, asked=asked)
        notes = {"num_queries": len(queries)}
        return Picks(rows=greedy.rows, scores=greedy.gains, notes=notes)
