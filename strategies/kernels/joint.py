"""What the labels of several samples would tell about which draw is the right one.

Every way the samples taken so far may be labelled, a configuration, has a probability and leaves a
distribution over the draws. What one more label would tell is its mutual information with the draw
under that distribution, on average over configurations. That never forms the probability of a joint
labelling, which is tiny, nor the difference of two joint entropies, which are large.

Probabilities of labels and of draws are rounded to multiples of ``2**-26``, and those of draws add
up to exactly 1. Their products are then sums of multiples of ``2**-52`` that never exceed 2, which
float64 holds without rounding: no result depends on how BLAS cuts a product, and equal samples tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.base import Doubles, Rows
from strategies.kernels.blocks import map_blocks, one_blas_thread
from strategies.kernels.top import first_rows
from strategies.scores import LogProbs, mutual_information

_GRID = 2.0**26
_FINE_GRID = 2.0**40
_CELLS = 2**16  # of the table worked on at a time: half a MB
_FIRST_LOOK = 1024
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Configurations of the labels of the samples taken, and what each says about the draws."""

    weights: Doubles  # (S,) > 0, adding up to 1
    posteriors: Doubles  # (S, K) multiples of 2**-26, each row adding up to exactly 1
    are_sampled: bool = False  # whether some of the possible ones were left out

    @classmethod
    def of_nothing(cls, num_draws: int) -> Outcomes:
        """Before any label: one configuration, under which all draws are as likely."""
        return cls(np.ones(1), _on_simplex(np.full((1, num_draws), 1 / num_draws)))

    def __len__(self) -> int:
        return len(self.weights)

    def information(self, log_probs: LogProbs) -> Doubles:
        """What each sample's label would tell about the draw, in nats: (n, K, C) -> (n,).

        Up to the rounding of probabilities, so slightly negative numbers may occur.
        """
        probs = _on_grid(log_probs)
        of_mean = np.zeros((len(probs), len(self)))
        of_draws = np.zeros(probs.shape[:2])
        for label in range(probs.shape[2]):
            _add_entropy(of_mean, probs[:, :, label] @ self.posteriors.T)
            _add_entropy(of_draws, probs[:, :, label])
        told: Doubles = (of_mean * self.weights).sum(axis=1)
        told -= (of_draws * self._draw_weights()).sum(axis=1)
        return told

    def _draw_weights(self) -> Doubles:
        return np.asarray((self.weights[:, None] * self.posteriors).sum(axis=0), np.float64)

    def extended(self, log_probs: LogProbs, most: int, rng: np.random.Generator) -> Outcomes:
        """The configurations with the label of one more sample, (K, C), appended.

        All that are possible, or where these are more than `most`, a systematic sample of that size
        in proportion to their probabilities, for which one uniform number is drawn.
        """
        probs = _on_grid(log_probs)
        predicted = self.posteriors @ probs  # (S, C)
        weights = (self.weights[:, None] * predicted).ravel()
        weights /= weights.sum()
        is_sampled = int(np.count_nonzero(weights)) > most
        if is_sampled:
            weights = _systematic_sample(weights, most, rng.random())
        kept = np.flatnonzero(weights)
        parents, labels = np.divmod(kept, probs.shape[1])
        posteriors = self.posteriors[parents] * probs.T[labels]
        posteriors /= predicted[parents, labels][:, None]
        return Outcomes(weights[kept], _on_simplex(posteriors), self.are_sampled or is_sampled)


@one_blas_thread()
def most_informative(
    mc_log_probs: LogProbs, count: int, most: int, rng: np.random.Generator
) -> tuple[Rows, Doubles, int]:
    """Greedy rows whose labels together would tell most about the draw; ties by row.

    Args:
        mc_log_probs: (N, K, C).
        count: Between 1 and N.
        most: How many configurations are kept; up to that many the result is exact.
        rng: One uniform number is drawn before each pick beyond.

    Returns:
        Rows (count,), what each added when it was picked, and how many of them are exact.
    """
    caps = mutual_information(mc_log_probs)
    order = first_rows(-caps, len(caps))
    rows, gains = [int(order[0])], [float(caps[order[0]])]
    outcomes = Outcomes.of_nothing(mc_log_probs.shape[1])
    num_exact = 1
    while len(rows) < count:
        outcomes = outcomes.extended(mc_log_probs[rows[-1]], most, rng)
        order = order[order != rows[-1]]
        row, gain = _best(mc_log_probs, outcomes, order, caps)
        rows.append(row)
        gains.append(gain)
        num_exact += not outcomes.are_sampled
    return np.array(rows, np.int64), np.array(gains), num_exact


def _best(
    mc_log_probs: LogProbs, outcomes: Outcomes, order: Rows, caps: Doubles
) -> tuple[int, float]:
    """The row, and its gain, of the largest gain; the smallest of equals.

    Labels are independent given the draw, so what one tells can only shrink as others are known:
    `caps` bound the gains, and once they fall below the best gain found, the rest cannot matter.

    Args:
        mc_log_probs: (N, K, C).
        outcomes: Of the samples taken.
        order: (n,) rows left, by falling caps.
        caps: (N,) what each would tell by itself.
    """
    best, best_gain = -1, -1.0
    start, size = 0, _FIRST_LOOK
    while start < len(order) and caps[order[start]] >= best_gain:
        some = np.sort(order[start : start + size])
        gains = _gains(mc_log_probs, outcomes, some, caps)
        place = int(gains.argmax())
        if (-gains[place], some[place]) < (-best_gain, best):
            best, best_gain = int(some[place]), float(gains[place])
        start, size = start + size, 2 * size
    return best, best_gain


def _gains(mc_log_probs: LogProbs, outcomes: Outcomes, rows: Rows, caps: Doubles) -> Doubles:
    def of_block(block: slice) -> Doubles:
        told = outcomes.information(mc_log_probs[rows[block]])
        # What differs by the rounding of sums alone is equal; above all, nothing is nothing.
        rounded = np.rint(told * _FINE_GRID) / _FINE_GRID
        return np.clip(rounded, 0.0, caps[rows[block]])

    step = max(_CELLS // len(outcomes), 1)
    return np.concatenate(map_blocks(of_block, len(rows), block_rows=step))


def _on_grid(log_probs: LogProbs) -> Doubles:
    """Probabilities, to multiples of 2**-26."""
    probs = np.exp(np.asarray(log_probs, np.float64))
    rounded: Doubles = np.rint(probs * _GRID) / _GRID
    return rounded


def _on_simplex(rows: Doubles) -> Doubles:
    """Rows that add up to 1, about, to multiples of 2**-26 that add up to exactly 1."""
    rounded: Doubles = np.rint(rows * _GRID) / _GRID
    largest = rounded.argmax(axis=1)
    rounded[np.arange(len(rows)), largest] += 1 - rounded.sum(axis=1)
    return rounded


def _add_entropy(entropies: Doubles, probs: Doubles) -> None:
    """Adds -p log p, in place."""
    terms = np.maximum(probs, _TINY)
    np.log(terms, out=terms)
    terms *= probs
    entropies -= terms


def _systematic_sample(weights: Doubles, size: int, uniform: float) -> Doubles:
    """Shares (n,) of a sample of `size` drawn in proportion to weights, which add up to about 1.

    Evenly spaced places of the running sum, shifted by one uniform number (Carpenter, Clifford &
    Fearnhead 1999): each is drawn as often as is proportional, up to one time more or less.
    """
    running = np.cumsum(weights)
    places = (np.arange(size) + uniform) / size * running[-1]
    drawn = np.searchsorted(running, places, side="right")
    # The last place may be rounded up to the total, which no weight lies beyond.
    drawn = np.minimum(drawn, np.flatnonzero(weights)[-1])
    shares: Doubles = np.bincount(drawn, minlength=len(weights)) / size
    return shares
