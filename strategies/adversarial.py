"""Samples near a decision boundary, by how little it takes to push them across."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from strategies.base import Attack, Candidates, Computation, Doubles, Floats, Picks, Signal
from strategies.families import ScoreStrategy
from strategies.kernels.blocks import NARROW_ROWS, map_blocks
from strategies.kernels.top import first_rows


class Nearest(ScoreStrategy):
    """Asks for the candidates nearest to a change of their class.

    A member measures `distances`, (N,) >= 0, inf where no change was found. These are asked for
    last, by id. A score is 1 / (1 + distance), in [0, 1], so that it is a number there too; the
    order is that of the distances themselves.
    """

    @abstractmethod
    def distances(self, candidates: Candidates) -> Doubles:
        """How far each candidate is from another class: (N,), smallest asked first."""

    @override
    def utilities(self, candidates: Candidates) -> Doubles:
        return _closeness(self.distances(candidates))

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        distances = self.distances(candidates)
        rows = first_rows(distances, batch_size)
        return Picks(
            rows=rows,
            scores=_closeness(distances[rows]),
            notes={"never_flipped": int(np.isinf(distances).sum())},
        )


class DeepFool(Nearest):
    """Asks for the images that the smallest change of pixels turns into another class.

    A worker takes the network for linear around an image and steps to the nearest boundary, again
    and again, until the class changes. The distance is the Euclidean norm of all steps together,
    over normalised pixels; the score is 1 / (1 + distance), 0 where `max_steps` did not suffice.

    Reference: Ducoffe & Precioso 2018, "Adversarial active learning for deep networks: a margin
    based approach", https://arxiv.org/abs/1802.09841; the attack is that of Moosavi-Dezfooli et al.
    2016, https://arxiv.org/abs/1511.04599, algorithm 2.
    Cost: for each image and step one pass forward and C - 1 back, often a handful of steps: some
    tens of scorings of the pool. On a CPU take it inside `subsample`.
    Use: margins where the network looks and not where it answers. `margin` asks for nearly the same
    at a fraction of the price, `deepfool_linear` for the same in front of the last layer.
    Differs: the changed image does not join the labelled set with its label, as the paper has it.
    Each step goes 1e-4 beyond the boundary, and the overshoot is no part of the distance. All
    images are attacked together, which finds what a loop over them does.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"flip_distances"})
    name: Literal["deepfool"] = "deepfool"
    max_steps: int = Field(default=50, ge=1)
    """Steps after which an image counts as one that never changes its class."""
    overshoot: float = Field(default=0.02, ge=0)
    """How far beyond the boundary the class must have changed, as a share of the way there."""

    @property
    @override
    def computation(self) -> Computation:
        attack = Attack("deepfool", self.max_steps, step=0.0, overshoot=self.overshoot)
        return Computation(flips=attack)

    @override
    def distances(self, candidates: Candidates) -> Doubles:
        return _flip_distances(candidates)


class BIM(Nearest):
    """Asks for the images that the fewest equal steps of all pixels turn into another class.

    A worker moves every pixel by `step` in the direction that makes the class less likely, until it
    changes. The distance is the Euclidean norm of the whole change over normalised pixels; the
    score is 1 / (1 + distance), 0 where `max_steps` did not suffice.

    Reference: Kurakin, Goodfellow & Bengio 2016, "Adversarial examples in the physical world",
    https://arxiv.org/abs/1607.02533, section 2.2 (the attack); for its use after Ducoffe & Precioso
    2018, https://arxiv.org/abs/1802.09841.
    Cost: one pass forward and one back for each image and step.
    Use: cheaper than `deepfool` with many classes, and coarser: distances come in steps, and with a
    large `step` ties are settled by id.
    Differs: no pixel is clipped, and steps go on until the class changes instead of for a number
    that is set.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"flip_distances"})
    name: Literal["bim"] = "bim"
    step: float = Field(default=0.05, gt=0)
    """The change of each pixel a step, in deviations of the pixels of the dataset."""
    max_steps: int = Field(default=50, ge=1)
    """Steps after which an image counts as one that never changes its class."""

    @property
    @override
    def computation(self) -> Computation:
        return Computation(flips=Attack("bim", self.max_steps, step=self.step, overshoot=0.0))

    @override
    def distances(self, candidates: Candidates) -> Doubles:
        return _flip_distances(candidates)


class DeepFoolLinear(Nearest):
    """Asks for the samples whose embedding is nearest to a boundary of the last layer.

    The distance is min over k of (z_y - z_k) / |w_y - w_k| for logits z, rows w of the head's
    weights and the likeliest class y: what `deepfool` finds where the network is linear. A class
    whose weights equal those of y is met where it is as likely, else never. The score is
    1 / (1 + distance).

    Reference: Moosavi-Dezfooli et al. 2016, https://arxiv.org/abs/1511.04599, section 2 (the closed
    form of an affine classifier); for its use after Ducoffe & Precioso 2018,
    https://arxiv.org/abs/1802.09841.
    Cost: O(N C + C^2 D) time: no image is looked at again.
    Use: in place of `margin` where the norms of the head's rows differ much, as they do under
    imbalance; in place of `deepfool` wherever its price is too high.
    Differs: measured between embeddings, not images. Differences of log-probabilities stand for
    those of logits, which they equal.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs", "head"})
    name: Literal["deepfool_linear"] = "deepfool_linear"

    @override
    def distances(self, candidates: Candidates) -> Doubles:
        log_probs, head = candidates.log_probs, candidates.head
        assert log_probs is not None  # check_request saw that `needs` are given
        assert head is not None
        between = _distances_between(head.weight)

        def of_block(rows: slice) -> Doubles:
            return _to_nearest_class(np.asarray(log_probs[rows], np.float64), between)

        blocks = map_blocks(of_block, len(log_probs), block_rows=NARROW_ROWS)
        return np.concatenate(blocks) if blocks else np.empty(0)


def _closeness(distances: Doubles) -> Doubles:
    closeness: Doubles = 1 / (1 + distances)
    return closeness


def _flip_distances(candidates: Candidates) -> Doubles:
    assert candidates.flip_distances is not None  # check_request saw that `needs` are given
    return candidates.flip_distances.astype(np.float64)


def _distances_between(weight: Floats) -> Doubles:
    """Norms of the differences of all pairs of rows: (C, D) -> (C, C)."""
    rows = weight.astype(np.float64)
    squares = [np.einsum("cd,cd->c", rows - row, rows - row) for row in rows]
    return np.sqrt(squares)


def _to_nearest_class(log_probs: Doubles, between: Doubles) -> Doubles:
    """(n, C) -> (n,); inf where there is no other class to be met."""
    rows, likeliest = np.arange(len(log_probs)), log_probs.argmax(axis=1)
    gaps = log_probs[rows, likeliest][:, None] - log_probs
    widths = between[likeliest]
    ways = np.where(gaps > 0, np.inf, 0.0)
    np.divide(gaps, widths, out=ways, where=widths > 0)
    ways[rows, likeliest] = np.inf
    nearest: Doubles = ways.min(axis=1)
    return nearest
