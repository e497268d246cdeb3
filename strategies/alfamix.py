"""ALFA-Mix: where a small step towards what is labelled changes the predicted class."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Head, Picks, QueryStrategy, Rows, Signal
from strategies.kernels.blocks import map_blocks
from strategies.kernels.exact import Points, exact_rows, mean_of
from strategies.kmeans import one_for_each_cluster

Flags = npt.NDArray[np.bool_]


class AlfaMix(QueryStrategy):
    """Asks for samples whose class changes by mixing in labelled features, one a cluster.

    An anchor a is the mean embedding of the labelled samples of one class. Mixing it into an
    embedding h by the closed form moves h by (`epsilon` / sqrt(D)) |a - h| along q / |q|, where q
    is the gradient, by h, of the cross-entropy to the predicted class. Wanted are the samples for
    which the head then predicts another class, for some anchor. B clusters of the wanted by k-means
    on embeddings at unit length are each represented by the sample nearest the centre, in the order
    of the clusters. If fewer than B are wanted, all are asked for, by id, and the rest is drawn
    uniformly from the others. The score is the lead, in logits, that the likeliest other class has
    after the farthest step; it is negative where the class does not change.

    Only the farthest anchor is tried, with the same result. Along the ray from h, logits are linear
    in the length of the step, so the lengths at which the predicted class is still the likeliest
    form an interval; it starts at 0, and if the longest step is inside, all others are.

    Draws: what k-means draws, or one ``rng.permutation`` of the samples not wanted.

    Reference: Parvaneh, Abbasnejad, Teney, Haffari, van den Hengel & Shi 2022, "Active learning by
    feature mixing", https://arxiv.org/abs/2203.07034, section 3.
    Cost: O(N C D), and k-means on the wanted, O(N B D) for a pass; extra memory that of `kmeans`.
    Use: With few labels and embeddings on which a linear head does well. Where hardly any sample
    flips, which the notes tell, it is random sampling: raise `epsilon`.
    Differs: Gradient and predicted class are computed from embeddings and head. Where coordinates
    of anchor and embedding coincide, the coefficient is 0/0 and the step is its limit. Anchors are
    those of the classes that have labels; some public code numbers them from 0 and so drops one
    when a class has none. The form with a fixed `epsilon` follows public code and was not checked
    against the paper's text; the authors' code can also search coefficients by gradient descent.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset(
        {"embeddings", "head", "labelled_embeddings", "labelled_labels"}
    )
    is_prefix: ClassVar[bool] = False
    min_labelled: ClassVar[int] = 1
    name: Literal["alfamix"] = "alfamix"
    epsilon: float = Field(0.2, gt=0)
    """Length of the step as a share of the distance to the anchor, times sqrt(D)."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        embeddings, head = candidates.embeddings, candidates.head
        labelled, labels = candidates.labelled_embeddings, candidates.labelled_labels
        assert embeddings is not None  # check_request saw that `needs` are given
        assert head is not None
        assert labelled is not None
        assert labels is not None
        means = [labelled[labels == label].mean(axis=0, dtype=float) for label in np.unique(labels)]
        step = self.epsilon / np.sqrt(embeddings.shape[1])
        is_wanted, leads = mixed_leads(embeddings, head, np.stack(means), step)
        wanted = np.flatnonzero(is_wanted)
        rows = one_for_each_cluster(embeddings, wanted, batch_size, rng)
        return Picks(rows=rows, scores=leads[rows], notes={"wanted": len(wanted)})


def mixed_leads(
    embeddings: Points, head: Head, anchors: Doubles, step: float
) -> tuple[Flags, Doubles]:
    """Whether the class changes by the step towards the farthest anchor, and by what lead.

    Args:
        embeddings: (N, D).
        head: Of C classes; of equally likely ones the first is predicted.
        anchors: (A, D).
        step: Its length as a share of the distance to the anchor.

    Returns:
        Flags (N,), and logits (N,) of the likeliest other class less those of the class predicted
        before; 0 where there is no other class.
    """
    mean = mean_of(embeddings)
    weight, columns = exact_rows(head.weight), exact_rows(head.weight.T)
    moved_anchors = exact_rows(anchors, mean=mean)

    def of_block(rows: slice) -> tuple[Flags, Doubles]:
        points = embeddings[rows]
        logits = exact_rows(points).products(weight) + head.bias
        predicted = logits.argmax(axis=1)
        gradients = exact_rows(_residuals(logits, predicted)).products(columns)
        growth = exact_rows(gradients, unit=True).products(weight)  # of logits along the ray
        squares = exact_rows(points, mean=mean).squared_distances(moved_anchors)
        mixed = logits + step * np.sqrt(squares.max(axis=1))[:, None] * growth
        return mixed.argmax(axis=1) != predicted, _leads(mixed, predicted)

    found = map_blocks(of_block, len(embeddings))
    flags, leads = (np.concatenate(part) for part in zip(*found, strict=True))
    return flags, leads


def _residuals(logits: Doubles, predicted: Rows) -> Doubles:
    """Probabilities less the one-hot of the predicted class, without rounding near 1."""
    every = np.arange(len(logits))
    others = np.exp(logits - logits[every, predicted][:, None])
    others[every, predicted] = 0.0
    others /= 1 + others.sum(axis=1, keepdims=True)
    others[every, predicted] = -others.sum(axis=1)
    return others


def _leads(logits: Doubles, predicted: Rows) -> Doubles:
    every = np.arange(len(logits))
    own = logits[every, predicted]
    if logits.shape[1] == 1:
        return np.zeros_like(own)
    others = logits.copy()
    others[every, predicted] = -np.inf
    leads: Doubles = others.max(axis=1) - own
    return leads
