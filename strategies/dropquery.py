"""DropQuery: where a prediction does not survive dropout of its features."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Head, Picks, QueryStrategy, Rows, Signal
from strategies.kernels.blocks import map_blocks
from strategies.kernels.exact import Points, exact_rows
from strategies.kmeans import one_for_each_cluster


class DropQuery(QueryStrategy):
    """Asks for samples whose class changes when features are dropped, one from each of B clusters.

    In each of `passes`, a share `rate` of the features is set to zero and the others are divided by
    1 - `rate`; a flip is a class of the head other than the one it predicts from all features.
    Wanted are the samples that flip in more than half of the passes; while they are fewer than
    `wanted_per_pick` B, one flip less will do, but one at least. B clusters of the wanted by
    k-means on embeddings at unit length are each represented by the sample nearest the centre, in
    the order of the clusters. If fewer than B are wanted, all are asked for, by id, and the rest is
    drawn uniformly from the others. The score is the number of flips.

    Draws: ``rng.random((passes, D))``, of which feature d is dropped where the number is below
    `rate`; then what k-means draws, or one ``rng.permutation`` of the samples not wanted.

    Reference: Gupte, Aklilu, Nirschl & Yeung-Levy 2024, "Revisiting active learning in the era of
    vision foundation models", https://arxiv.org/abs/2401.14555, section on DropQuery.
    Cost: O(passes N C D), and k-means on the wanted, O(N B D) for a pass; extra memory that of
    `kmeans`.
    Use: With embeddings of a foundation model and a linear head on them, at few labels or many. It
    is of no use before the head has learnt something.
    Differs: The mask of a pass is the same for all samples, whereas public code drops features of
    each sample by itself. The chance of a flip is the same for each sample; a pass becomes one
    thinned head that judges all samples alike, equal samples flip together, and no sample's flips
    depend on which others are there. The classes compared are both computed from embeddings and
    head, so a rate of 0 flips nothing. The numbers of passes, flips and wanted samples follow
    public code and are not checked against the paper's text.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"embeddings", "head"})
    is_prefix: ClassVar[bool] = False
    name: Literal["dropquery"] = "dropquery"
    rate: float = Field(0.75, ge=0, lt=1)
    """Share of the features that a pass drops, on average."""
    passes: int = Field(3, ge=1)
    """How many times features are dropped."""
    wanted_per_pick: float = Field(25, ge=0)
    """How many samples with flips there should be for each one asked for."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, head = candidates.embeddings, candidates.head
        assert embeddings is not None  # check_request saw that `needs` are given
        assert head is not None
        is_kept = rng.random((self.passes, embeddings.shape[1])) >= self.rate
        flips = count_flips(embeddings, head, is_kept / (1 - self.rate))
        least = self.passes // 2 + 1
        while least > 1 and np.count_nonzero(flips >= least) < self.wanted_per_pick * batch_size:
            least -= 1
        wanted = np.flatnonzero(flips >= least)
        rows = one_for_each_cluster(embeddings, wanted, batch_size, rng)
        return Picks(
            rows=rows,
            scores=flips[rows].astype(np.float64),
            notes={"wanted": len(wanted), "least_flips": least},
            maps={"flips": flips},
        )


def count_flips(embeddings: Points, head: Head, factors: Doubles) -> Rows:
    """In how many passes the predicted class is another: (N, D), factors (passes, D) -> (N,).

    Args:
        embeddings: Finite.
        head: Its classes are compared, the first of equally likely ones.
        factors: What each pass multiplies features with.
    """
    weight = head.weight.astype(np.float64)
    # What multiplies features may as well multiply the head: one small product for all passes.
    thinned = weight[None] * np.vstack([np.ones(weight.shape[1]), factors])[:, None]
    heads = exact_rows(thinned.reshape(-1, weight.shape[1]))

    def of_block(rows: slice) -> Rows:
        products = exact_rows(embeddings[rows]).products(heads)
        logits = products.reshape(len(products), -1, len(weight)) + head.bias
        classes = logits.argmax(axis=2)
        flips: Rows = (classes[:, 1:] != classes[:, :1]).sum(axis=1)
        return flips

    return np.concatenate(map_blocks(of_block, len(embeddings)))
