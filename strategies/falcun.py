"""Falcun: unsure and unlike each other, by class probabilities alone."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from typing_extensions import override

from strategies.base import Candidates, Doubles, Picks, QueryStrategy, Rows, Signal
from strategies.scores import LogProbs, margin

Flags = npt.NDArray[np.bool_]


Rescaled = Literal["carried", "afresh"]


class Falcun(QueryStrategy):
    """Draws samples that are unsure and whose predictions are unlike those drawn before.

    A sample's doubt is u = 1 - (p1 - p2) of its two likeliest classes; its novelty d is u at first.
    Each pick is drawn in proportion to (u + d) ** gamma. After it, d becomes the smaller of d and
    the sum of absolute differences between the sample's probabilities and the pick's; then all d
    are divided by the largest. The score is u + d when drawn. Where every remaining sample has
    u + d = 0 the draw is uniform. The B uniform numbers are drawn at once.

    Reference: Gilhuber, Beer, Ma & Seidl 2024, "FALCUN: a simple and efficient deep active learning
    strategy", ECML PKDD.
    Cost: O(B N C) time, O(N C) extra memory.
    Use: a cheap rival of `badge`, since it looks at class probabilities only: C numbers a sample in
    place of C + D. Two samples of one prediction are the same to it, however unlike the images are.
    Differs: there are two readings of the rescaling, and the paper's text was not checked. By
    default d is rescaled in place after each pick, as scikit-activeml does; it brings d to [0, 1]
    by its least and largest value, and over all candidates the least is that of the pick, which
    is 0. With ``rescaled: afresh`` d stays a distance, and a copy of it is brought to [0, 1] over
    the remaining samples before each draw, as the authors' code does.
    """

    needs: ClassVar[frozenset[Signal]] = frozenset({"log_probs"})
    name: Literal["falcun"] = "falcun"

    gamma: float = Field(default=10.0, gt=0)
    """How sharply a large u + d is favoured; large values approach the largest."""
    rescaled: Rescaled = "carried"
    """Whether rescaled d are carried on to the next pick, or made `afresh` for each draw."""

    @override
    def choose(self, candidates: Candidates, batch_size: int, rng: np.random.Generator) -> Picks:
        assert candidates.log_probs is not None  # check_request saw that `needs` are given
        uniforms = rng.random(batch_size)
        rows, scores = draw_contrasts(candidates.log_probs, uniforms, self.gamma, self.rescaled)
        return Picks(rows=rows, scores=scores)


def draw_contrasts(
    log_probs: LogProbs, uniforms: Doubles, gamma: float = 10.0, rescaled: Rescaled = "carried"
) -> tuple[Rows, Doubles]:
    """Draws a row for each of the uniform numbers; see `Falcun`.

    Args:
        log_probs: (N, C).
        uniforms: (B,) in [0, 1).
        gamma: The power of the weights.
        rescaled: When novelties are brought to [0, 1].

    Returns:
        Rows (B,) in the order drawn, and their u + d.
    """
    # Class-major: each step below is one pass over the pool in ascending memory.
    probs = np.exp(np.asarray(log_probs).T.astype(np.float64, order="C"))
    doubts = np.maximum(1 - margin(log_probs), 0.0)
    novelties = doubts.copy()
    left = np.ones(len(doubts), np.bool_)
    rows = np.empty(len(uniforms), np.int64)
    scores = np.empty(len(uniforms))
    for turn, uniform in enumerate(uniforms):
        seen = novelties if rescaled == "carried" else _in_unit_range(novelties, left)
        wanted = np.where(left, doubts + seen, 0.0)
        row = _draw(wanted, left, gamma, uniform)
        rows[turn], scores[turn] = row, wanted[row]
        left[row] = False
        _move_away(novelties, probs, row)
        if rescaled == "carried":
            _divide_by_largest(novelties)
    return rows, scores


def _draw(wanted: Doubles, left: Flags, gamma: float, uniform: float) -> int:
    """The first row whose running sum of weights exceeds `uniform` times their total."""
    largest = wanted.max()
    # The ratio before the power: nothing overflows, and what underflows is negligible.
    weights = (wanted / largest) ** gamma if largest > 0 else left.astype(np.float64)
    running = np.cumsum(weights)
    # A uniform number is below 1 by 2**-53 or more, so the product stays below the total.
    return int(np.searchsorted(running, uniform * running[-1], side="right"))


def _move_away(novelties: Doubles, probs: Doubles, row: int) -> None:
    """Lowers novelties to the distance from the pick's probabilities, in place."""
    distances = np.zeros_like(novelties)
    for of_class in probs:
        distances += np.abs(of_class - of_class[row])
    np.minimum(novelties, distances, out=novelties)


def _divide_by_largest(novelties: Doubles) -> None:
    # The least is that of the pick, 0, so dividing is all there is to rescaling.
    largest = novelties.max()
    if largest > 0:
        novelties /= largest


def _in_unit_range(novelties: Doubles, left: Flags) -> Doubles:
    """Novelties with the least of the remaining rows at 0 and the largest at 1; 0 if all equal."""
    least, largest = novelties[left].min(), novelties[left].max()
    if largest == least:
        return np.zeros_like(novelties)
    scaled: Doubles = (novelties - least) / (largest - least)
    return scaled
