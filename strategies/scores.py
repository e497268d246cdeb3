"""Acquisition functions: log-probabilities in, one score a row out; pure, in float64.

Of one prediction, (N, C), or of K draws from a posterior, (N, K, C); draws are visited one at a
time, so that no second array of that size exists. Everything starts from log-probabilities, so that
a class of probability zero costs no NaN and rows of a saturated softmax, whose float32
probabilities all read 1.0, still differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from strategies.base import Doubles, Floats, Rows
from strategies.kernels.blocks import NARROW_ROWS, map_blocks

LogProbs = Floats | Doubles
Number = TypeVar("Number", bound=np.generic)

_RULED_OUT = -1e4  # stands in for log 0 where it is multiplied by 0; e to it is 0


def log_doubt(log_probs: LogProbs) -> Doubles:
    """The logarithm of 1 - max p: (N, C) -> (N,), in [-inf, log(1 - 1/C)]; higher is less sure.

    Taken as the log of the sum of all other classes, which does not saturate. Lewis & Gale 1994
    (least confidence).
    """
    return _over_rows(_log_doubt, log_probs)


def margin(log_probs: LogProbs) -> Doubles:
    """p1 - p2 of the two likeliest classes: (N, C) -> (N,), in [0, 1]; lower is less sure.

    With one class p2 is 0. Scheffer et al. 2001.
    """
    return _over_rows(_margin, log_probs)


def log_ratio(log_probs: LogProbs) -> Doubles:
    """The log ratio log p1 - log p2 of the two likeliest classes: (N, C) -> (N,), in [0, inf].

    Of two rows whose margins round to the same number near 1, the one with the smaller ratio has
    the smaller margin.
    """
    return _over_rows(_log_ratio, log_probs)


def entropy(log_probs: LogProbs) -> Doubles:
    """-sum p log p in nats: (N, C) -> (N,), in [0, log C]; higher is less sure."""
    return _over_rows(_entropy, log_probs)


def behind_best(log_probs: LogProbs) -> Doubles:
    """p_k - max p of each class: (N, C) -> (N, C), in [-1, 0]; 0 for the likeliest class."""
    return _over_rows(_behind_best, log_probs)


def log_odds(log_probs: LogProbs) -> Doubles:
    """The log odds of each class, log p_k - log(1 - p_k): (N, C) -> (N, C), in [-inf, inf].

    Does not saturate: taken from the sum of all other classes where class k is likeliest.
    """
    return _over_rows(_log_odds, log_probs)


def _over_rows(score: Callable[[Doubles], Doubles], log_probs: LogProbs) -> Doubles:
    """Applies `score` to class-major float64 blocks, (C, rows), and joins the answers by row."""

    def of_block(rows: slice) -> Doubles:
        # One contiguous row a class: each step below is then one pass of vector instructions.
        return score(np.asarray(log_probs[rows]).T.astype(np.float64, order="C"))

    blocks = map_blocks(of_block, len(log_probs), block_rows=NARROW_ROWS)
    return np.concatenate(blocks) if blocks else np.empty(0)


def _top_two(classes: Iterable[Doubles]) -> tuple[Doubles, Doubles]:
    """The largest and second largest value of each column; -inf where there is no second."""
    classes = iter(classes)
    best = next(classes).copy()
    second = np.full_like(best, -np.inf)
    for values in classes:
        np.maximum(second, np.minimum(best, values), out=second)
        np.maximum(best, values, out=best)
    return best, second


def _log_doubt(classes: Doubles) -> Doubles:
    _, second = _top_two(classes)
    # Relative to the runner-up every other class counts e^(l - second) <= 1. Capped there, the
    # likeliest class counts exactly 1, which is taken off again.
    is_sure = second == -np.inf
    base = np.where(is_sure, 0.0, second) if is_sure.any() else second
    shares = np.minimum(classes, base)
    shares -= base  # in place: blocks of all classes are what the caches are short of
    others: Doubles = np.exp(shares, out=shares).sum(axis=0)
    others -= 1.0
    with np.errstate(divide="ignore"):
        np.log(others, out=others)
    others += base
    others[is_sure] = -np.inf
    return others


def _margin(classes: Doubles) -> Doubles:
    best, second = _top_two(classes)
    gaps: Doubles = -np.exp(best) * np.expm1(second - best)
    return gaps


def _log_ratio(classes: Doubles) -> Doubles:
    best, second = _top_two(classes)
    gaps: Doubles = best - second
    return gaps


def _behind_best(classes: Doubles) -> Doubles:
    best = classes.max(axis=0)
    gaps: Doubles = np.exp(best) * np.expm1(classes - best)
    return gaps.T


def _log_odds(classes: Doubles) -> Doubles:
    # Of a class that is not the likeliest p is 1/2 at most; the bound is for the one passed over.
    others = np.log1p(-np.exp(np.minimum(classes, -0.25)))
    others = np.where(classes == classes.max(axis=0), _log_doubt(classes), others)
    odds: Doubles = classes - others
    return odds.T


def _entropy(classes: Doubles) -> Doubles:
    # A class ruled out has log p = -inf and adds nothing; a finite stand-in makes its term 0.
    terms: npt.NDArray[np.float64] = np.maximum(classes, _RULED_OUT)
    total: Doubles = -(np.exp(terms) * terms).sum(axis=0)
    return np.maximum(total, 0.0)


def mean_log_probs(mc_log_probs: LogProbs) -> Doubles:
    """The logarithm of the mean over draws: (N, K, C) -> (N, C).

    Where all draws are equal it is the draw itself, bit for bit.
    """
    return _over_draws(lambda draws: _log_mean(draws).T, mc_log_probs)


def mutual_information(mc_log_probs: LogProbs) -> Doubles:
    """What the label would tell of the draw, in nats: (N, K, C) -> (N,), in [0, log min(K, C)].

    The entropy of the mean less the mean entropy, taken as the mean divergence of a draw from the
    mean, where nothing cancels: 0, exactly, where all draws are equal. Houlsby et al. 2011 (BALD).
    """
    return _over_draws(_mean_divergence, mc_log_probs)


def largest_divergence(mc_log_probs: LogProbs) -> Doubles:
    """The divergence from the mean of the draw farthest from it: (N, K, C) -> (N,), >= 0."""
    return _over_draws(_largest_divergence, mc_log_probs)


def mean_std(mc_log_probs: LogProbs) -> Doubles:
    """The standard deviation of p over draws, mean over classes: (N, K, C) -> (N,), in [0, 1/2].

    The draws are the whole population (the sum is divided by K). 0, exactly, for equal draws.
    """
    return _over_draws(_mean_std, mc_log_probs)


def votes(mc_log_probs: LogProbs) -> Rows:
    """How many draws find each class likeliest, the first of equals: (N, K, C) -> (N, C)."""
    return _over_draws(_votes, mc_log_probs)


def variation_ratio(mc_log_probs: LogProbs) -> Doubles:
    """The share of draws that vote against the class with most votes: (N, K, C) -> (N,)."""
    ratios: Doubles = 1 - votes(mc_log_probs).max(axis=1) / mc_log_probs.shape[1]
    return ratios


def vote_entropy(mc_log_probs: LogProbs) -> Doubles:
    """The entropy of the shares of votes in nats: (N, K, C) -> (N,), in [0, log min(K, C)]."""
    num_draws = mc_log_probs.shape[1]
    shares = np.arange(num_draws + 1) / num_draws
    terms = -shares * np.log(np.maximum(shares, 1 / num_draws))
    # By size, so that the rounding of the sum does not tell which classes the votes went to.
    by_size = np.sort(votes(mc_log_probs), axis=1)
    entropies: Doubles = np.maximum(terms[by_size].sum(axis=1), 0.0)
    return entropies


@dataclass(frozen=True, eq=False)
class _Draws:
    """The draws of a block, one at a time."""

    block: LogProbs  # (rows, K, C), may be memory-mapped

    def __len__(self) -> int:
        return int(self.block.shape[1])

    def __iter__(self) -> Iterator[Doubles]:
        """Class-major, (C, rows), as for a single prediction."""
        for draw in range(len(self)):
            yield np.asarray(self.block[:, draw]).T.astype(np.float64, order="C")


def _over_draws(
    score: Callable[[_Draws], npt.NDArray[Number]], mc_log_probs: LogProbs
) -> npt.NDArray[Number]:
    def of_block(rows: slice) -> npt.NDArray[Number]:
        return score(_Draws(mc_log_probs[rows]))

    blocks = map_blocks(of_block, len(mc_log_probs), block_rows=NARROW_ROWS)
    # A pool without rows is one block without rows, whose answer has the right shape.
    return np.concatenate(blocks or [of_block(slice(0, 0))])


def _log_mean(draws: _Draws) -> Doubles:
    """(C, rows)."""
    largest = np.full(draws.block[:, 0].T.shape, -np.inf)
    for draw in draws:
        np.maximum(largest, draw, out=largest)
    base = np.where(largest > -np.inf, largest, 0.0)  # 0 for a class every draw rules out
    shares = np.zeros_like(base)
    for draw in draws:
        shares += np.exp(draw - base)
    with np.errstate(divide="ignore"):
        return np.where(largest > -np.inf, base + np.log(shares / len(draws)), -np.inf)


def _divergences(draws: _Draws) -> Iterator[Doubles]:
    """Kullback and Leibler's divergence of each draw from the mean of all: (rows,) a draw."""
    mean = np.maximum(_log_mean(draws), _RULED_OUT)
    for draw in draws:
        terms = np.maximum(draw, _RULED_OUT)
        yield (np.exp(terms) * (terms - mean)).sum(axis=0)


def _mean_divergence(draws: _Draws) -> Doubles:
    total = np.zeros(len(draws.block))
    for divergence in _divergences(draws):
        total += divergence
    return np.maximum(total / len(draws), 0.0)


def _largest_divergence(draws: _Draws) -> Doubles:
    largest = np.zeros(len(draws.block))
    for divergence in _divergences(draws):
        np.maximum(largest, divergence, out=largest)
    return largest


def _mean_std(draws: _Draws) -> Doubles:
    # Welford 1962: what is added up are squared deviations, exactly 0 between equal draws.
    mean = np.zeros(draws.block[:, 0].T.shape)
    squares = np.zeros_like(mean)
    for number, draw in enumerate(draws, start=1):
        probs = np.exp(draw)
        off = probs - mean
        mean += off / number
        squares += off * (probs - mean)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0) / len(draws)).mean(axis=0), np.float64)


def _votes(draws: _Draws) -> Rows:
    """(rows, C)."""
    rows = np.arange(len(draws.block))
    counts = np.zeros((len(rows), draws.block.shape[2]), np.int64)
    for draw in draws:
        counts[rows, draw.argmax(axis=0)] += 1
    return counts
