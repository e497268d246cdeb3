"""Means, t intervals and paired differences over seeds.

`n` is the number of seeds or pairs throughout. scipy is imported on the first call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

LEVEL = 0.95
POWER = 0.80

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and how sure it is; one seed gives neither sd nor interval."""

    mean: float
    n: int
    sd: float | None  # with n - 1
    low: float | None  # 95 % t interval of the mean
    high: float | None

    @property
    def half_width(self) -> float | None:
        return None if self.high is None else self.high - self.mean

    @property
    def is_constant(self) -> bool:
        """Whether the values are equal but for rounding, so that a test of their mean is void."""
        return self.sd is not None and self.sd <= _ROUNDING * max(1.0, abs(self.mean))

    @property
    def sign(self) -> Literal[-1, 0, 1] | None:
        """On which side of 0 the interval lies; 0 where it contains 0, None where there is none."""
        if self.low is None or self.high is None:
            return None
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def t_interval(values: Sequence[float] | Doubles) -> Interval:
    """Mean, sd and 95 % t interval of one value for each seed.

    Raises:
        ValueError: There is no value.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    mean = float(sample.mean())
    if n == 1:
        return Interval(mean=mean, n=1, sd=None, low=None, high=None)
    sd = float(sample.std(ddof=1))
    half = _t_quantile(n) * sd / np.sqrt(n)
    return Interval(mean=mean, n=n, sd=sd, low=float(mean - half), high=float(mean + half))


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of a one-sample t test against 0; None for one pair or constant differences."""
    interval = t_interval(differences)
    if interval.sd is None or interval.is_constant:
        return None
    from scipy import stats

    t = interval.mean / (interval.sd / np.sqrt(interval.n))
    return float(2 * stats.t.sf(abs(t), interval.n - 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusts the p values of one family so that its error stays below the level (Holm 1979)."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def smallest_visible_difference(differences: Interval) -> float | None:
    """The true difference that as many pairs with this sd would find four times in five.

    80 % power of the two-sided paired t test at 5 %; None for a single pair.
    """
    if differences.sd is None:
        return None
    from scipy import optimize, stats

    n = differences.n
    critical = _t_quantile(n)

    def missing_power(effect: float) -> float:
        # The other tail, which finds the wrong sign, is below 1e-4 at this power.
        return float(stats.nct.sf(critical, n - 1, effect * np.sqrt(n))) - POWER

    return differences.sd * float(optimize.brentq(missing_power, 0.0, 50.0 / np.sqrt(n)))


def pairs_needed(sd: float, difference: float, *, most: int = 10_000) -> int | None:
    """The fewest pairs that find a true difference of this size four times in five.

    80 % power of the two-sided paired t test at 5 %, given the sd of the paired differences; None
    where more than `most` would be needed.

    Raises:
        ValueError: The sd is negative or the difference is not positive.
    """
    if sd < 0 or difference <= 0:
        raise ValueError(f"sd {sd} must not be negative, difference {difference} must be positive")
    from scipy import stats

    def is_enough(n: int) -> bool:
        critical = _t_quantile(n)
        return sd == 0 or bool(stats.nct.sf(critical, n - 1, difference / sd * np.sqrt(n)) >= POWER)

    if not is_enough(most):
        return None
    low, high = 1, most  # power rises with n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _t_quantile(n: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.5 + LEVEL / 2, n - 1))
