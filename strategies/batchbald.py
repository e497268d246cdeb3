"""BatchBALD: the batch whose labels together would tell most about the learner itself."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Picks, QueryStrategy, Signal, StrategyError
from strategies.kernels.joint import most_informative
from strategies.posterior import several_draws


class BatchBALD(QueryStrategy):
    """Asks for samples whose labels, taken together, draws from the posterior disagree about.

    Greedy: each pick adds most to the mutual information of the batch's labels and the draw, in
    nats. What it adds is the score; for the first it is that of `bald`. It is taken over all ways
    the earlier picks may be labelled; once these are more than `max_configurations`, over so many
    of them, sampled in proportion to their probabilities. The notes say from which pick on.

    Reference: Kirsch, van Amersfoort & Gal 2019, "BatchBALD: efficient and diverse batch
    acquisition for deep Bayesian active learning", https://arxiv.org/abs/1906.08158.
    Cost: O(B N K C S) time for S configurations, less where few candidates can still win; extra
    memory O(N + S K).
    Use: batches of up to a few dozen and 50 draws or more. K draws hold log K nats and no more, so
    after some log K / log C good picks nothing is left to tell them apart by. For larger batches
    `power` around `bald`.
    Differs: past the exact phase the labellings of one pick are sampled evenly from those of the
    pick before, and the draws' own entropy is taken under the same labellings as that of their
    mean, which errs less than the joint entropy alone. Labellings that cannot happen do not count.
    Probabilities are rounded to 2**-26 after the first pick, so that equal samples tie.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"mc_log_probs"})
    name: Literal["batchbald"] = "batchbald"

    max_configurations: int = Field(default=1000, ge=1)
    """Labellings of the earlier picks that are told apart: 1,000 make the first four picks exact
    for seven classes, and the first ten for two."""
    max_batch: int = Field(default=100, ge=1)
    """Larger batches are refused: the draws hold too little to rank so many picks, and each costs a
    pass over the pool times the configurations."""

    @override
    def refusal(self, batch_size: int) -> str | None:
        if batch_size <= self.max_batch:
            return None
        return (
            f"batchbald is asked for {batch_size} samples, and max_batch is {self.max_batch}; "
            "take bald, power around bald, smaller batches, or raise max_batch"
        )

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        reason = self.refusal(batch_size)
        if reason is not None:
            raise StrategyError(reason)
        draws = several_draws(self.name, candidates)
        rows, gains, num_exact = most_informative(draws, batch_size, self.max_configurations, rng)
        notes: dict[str, object] = {"approximate": num_exact < batch_size}
        if num_exact < batch_size:
            notes["approximate_from_pick"] = num_exact + 1
        return Picks(rows=rows, scores=gains, notes=notes)
