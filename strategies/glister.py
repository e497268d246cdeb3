"""GLISTER: the batch after whose gradient steps validation samples would be fitted best."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import override

from strategies.base import (
    Candidates,
    Doubles,
    Floats,
    Head,
    Picks,
    QueryStrategy,
    Signal,
)
from strategies.kernels.bilevel import (
    Crowding,
    NoRegulariser,
    RandomShare,
    Regulariser,
    Targets,
    bilevel_greedy,
)
from strategies.kernels.blocks import one_blas_thread
from strategies.kernels.exact import ExactPool
from strategies.kernels.factored import FactoredPool, pseudo_labels
from strategies.kernels.gradient_cover import GradientCover
from strategies.kernels.keyed import item_noise
from strategies.kernels.top import first_rows


class GLISTER(QueryStrategy):
    """Asks for the samples whose gradient steps would lower the loss on validation samples most.

    With g_i the last-layer gradient of a candidate towards its likeliest class (bias included) and
    G the mean gradient of the validation samples, the next pick is the largest ``<g_i, G>`` plus
    what the regulariser adds, and the head then takes a step down its gradient, which changes G.
    Before the first pick the head takes a step down the summed gradient of the labelled samples.
    The score is the regularised gain when picked. Only `random` draws: one 64-bit key, by which
    ids are put in a random order.

    Reference: Killamsetty, Sivasubramanian, Ramakrishnan & Iyer 2021, "GLISTER: generalization
    based data subset selection for efficient and robust learning",
    https://arxiv.org/abs/2012.10630, GLISTER-ACTIVE.
    Cost: O(B (N + V) C D) time, O(N D) memory; `diversity` adds O(B N D); `facility_location`
    adds N² D / 2 for the first pick, then as many columns of similarities as bounds leave open.
    Use: with validation samples whose classes are the ones that count, more so where the pool
    holds other things, too. Their labels are spent labels. Not where the head is poor, since then
    its gradients say little, and not with large B on one step size that was never tried.
    Differs: definition follows the public description of DISTIL, not checked against the paper's
    text. Similarities in both penalties are exp(-d²/2); DISTIL's facility location takes a constant
    minus d² instead. Without validation samples, the labelled ones and the pool with its likeliest
    classes take their place, and G is always divided by their number M + N; DISTIL divides by N at
    the first step only. The random picks are spread evenly over the batch and move the head like
    all others, so that a smaller batch is the beginning of a larger one; in DISTIL they come last.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset(
        {
            "log_probs",
            "embeddings",
            "labelled_embeddings",
            "labelled_labels",
            "head",
            "validation",
        }
    )
    name: Literal["glister"] = "glister"
    regulariser: Literal["none", "diversity", "facility_location", "random"] = "none"
    """What is added: `diversity` takes off trade_off times the similarity to each earlier pick;
    `facility_location` adds trade_off times what the pick adds to the similarity of the pool to
    the batch, summed over the pool; `random` makes trade_off the share of picks that are drawn.
    Two gradients are as similar as exp(-distance² / 2)."""
    trade_off: float | None = Field(default=None, ge=0)
    """Weight of the regulariser, often written λ. It has no default, since it is measured in units
    of <g_i, G>, which the learner sets; ActiveFER takes 10 for `diversity`. In [0, 1] with
    `random`."""
    step: float = Field(default=0.01, ge=0)
    """Size of the virtual steps, often written η: the learning rate of the head. DISTIL has
    no default and makes it mandatory; ours is a usual rate, not a tuned one. A step moves logits by
    about step · |h|². 0 keeps G as the learner left it."""

    @model_validator(mode="after")
    def _trade_off_fits(self) -> Self:
        if self.regulariser == "none":
            if self.trade_off is not None:
                raise ValueError("trade_off has nothing to weigh; name a regulariser")
        elif self.trade_off is None:
            raise ValueError(f"regulariser {self.regulariser} needs trade_off, its weight")
        elif self.regulariser == "random" and self.trade_off > 1:
            raise ValueError("trade_off is the share of random picks; give at most 1")
        return self

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        log_probs, embeddings = candidates.log_probs, candidates.embeddings
        assert log_probs is not None  # check_request saw that `needs` are given
        assert embeddings is not None
        pool = FactoredPool.of(log_probs, ExactPool.of(embeddings), bias=True)
        targets, kind = self._targets(candidates, pool)
        regulariser = self._regulariser(candidates, pool, rng)
        rows, values = bilevel_greedy(
            pool, targets, batch_size, step=self.step, regulariser=regulariser
        )
        notes = {"targets": kind, "num_targets": sum(map(len, targets))}
        return Picks(rows=rows, scores=values, notes=notes)

    def _targets(self, candidates: Candidates, pool: FactoredPool) -> tuple[list[Targets], str]:
        """The samples whose loss counts, after the step for the labelled ones."""
        embeddings, labels = candidates.labelled_embeddings, candidates.labelled_labels
        head, validation = candidates.head, candidates.validation
        assert embeddings is not None
        assert labels is not None
        assert head is not None
        assert validation is not None
        assert candidates.log_probs is not None
        log_probs = _log_probs(head, embeddings)
        labelled = ExactPool.of(embeddings)
        if len(validation.labels):
            of_validation = ExactPool.of(validation.embeddings)
            targets = [Targets.of(validation.log_probs, validation.labels, of_validation)]
        else:
            pseudo = pseudo_labels(candidates.log_probs)
            targets = [
                Targets.of(log_probs, labels, labelled),
                Targets.of(candidates.log_probs, pseudo, pool.embeddings),
            ]
        gradient = FactoredPool.of(log_probs, labelled, bias=True, labels=labels).total()
        for group in targets:
            group.move(-self.step * gradient)
        return targets, "validation" if len(validation.labels) else "labelled_and_pool"

    def _regulariser(
        self, candidates: Candidates, pool: FactoredPool, rng: np.random.Generator
    ) -> Regulariser:
        if self.trade_off is None:
            return NoRegulariser()
        if self.regulariser == "diversity":
            return Crowding(pool, self.trade_off)
        if self.regulariser == "facility_location":
            return GradientCover(pool, self.trade_off)
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        order = first_rows(item_noise(candidates.ids, key), len(candidates))
        return RandomShare(order, self.trade_off)


@one_blas_thread()
def _log_probs(head: Head, embeddings: Floats) -> Doubles:
    """What the head says of embeddings: (n, D) -> (n, C), in float64."""
    logits = embeddings.astype(np.float64) @ head.weight.T.astype(np.float64) + head.bias
    logits -= logits.max(axis=1, keepdims=True)
    log_probs: Doubles = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probs
