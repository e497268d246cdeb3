"""The words a comparison may use; generated, so that nobody claims more than was measured.

A *win* takes at least two regimes: a paired 95 % interval on the better side in two or more and on
the worse side in none. One regime gives a difference and its interval, one seed not even that.
"""

from __future__ import annotations

from collections.abc import Sequence

from al_orchestrator.reports.statistics import Interval

REGIMES_FOR_A_WIN = 2


def verdict_in_cell(difference: Interval | None, baseline: str | None, *, lower: bool) -> str:
    """What one regime says of a group against the baseline; never that it wins.

    Args:
        difference: Its metric minus the baseline's; None where no seed was run with both.
        baseline: None where the cell has none.
        lower: Whether lower values are better.
    """
    if baseline is None:
        return "no baseline"
    if difference is None:
        return f"no seed in common with {baseline}"
    sign = _better(difference, lower=lower)
    if sign is None:
        return "one seed: no interval"
    if difference.is_constant:
        return "identical" if sign == 0 else "constant difference"
    return {1: "better", 0: "tie", -1: "worse"}[sign]


def overall_verdict(
    differences: Sequence[Interval], *, lower: bool, regimes: Sequence[object] | None = None
) -> str:
    """What all cells together say of a group, from its difference in each.

    Args:
        differences: One for each cell.
        lower: Whether lower values are better.
        regimes: The regime of each cell, where several cells may share one (with other encoders,
            say); by default each cell is a regime of its own.
    """
    of = range(len(differences)) if regimes is None else regimes
    signs = [
        (regime, sign)
        for regime, each in zip(of, differences, strict=True)
        if (sign := _better(each, lower=lower)) is not None
    ]
    if not signs:
        return "one seed: no interval" if differences else "nothing to compare with"
    better = {regime for regime, sign in signs if sign > 0}
    worse = {regime for regime, sign in signs if sign < 0}
    num_regimes, unit = len({regime for regime, _ in signs}), "regimes"
    if better and worse:
        up, down = (sum(sign == s for _, sign in signs) for s in (1, -1))
        unit = unit if num_regimes == len(signs) else "cells"
        return f"mixed: better in {up} and worse in {down} of {len(signs)} {unit}"
    if num_regimes < REGIMES_FOR_A_WIN:
        return _in_one_regime([sign for _, sign in signs], differences)
    if max(len(better), len(worse)) < REGIMES_FOR_A_WIN:
        return "tie"
    return (
        f"{'win' if better else 'loss'} in {max(len(better), len(worse))} of {num_regimes} regimes"
    )


def _in_one_regime(signs: Sequence[int], differences: Sequence[Interval]) -> str:
    """The signs do not contradict each other."""
    if not any(signs):
        return "tie"
    if len(signs) == 1:
        return f"{_shown(differences)}, in one regime only"
    word = "better" if max(signs) > 0 else "worse"
    return f"{word} in {sum(map(bool, signs))} of {len(signs)} cells, in one regime only"


def _better(difference: Interval, *, lower: bool) -> int | None:
    sign = difference.sign
    return sign if sign is None or not lower else -sign


def _shown(differences: Sequence[Interval]) -> str:
    """The one difference that has an interval."""
    [only] = [each for each in differences if each.low is not None]
    return f"{only.mean:+.4f} [{only.low:+.4f}, {only.high:+.4f}]"
