"""What one run measured, round by round, and numbers read from such a curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from al_orchestrator.errors import ConfigError

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

FINISHED = "finished"
"""The state of a run that has measured all its rounds."""


@dataclass(frozen=True, eq=False)
class Background:
    """What else is on record of a run beside its metrics."""

    classes: tuple[str, ...]  # their names, by code
    pool: int  # samples there were to ask for; 0 where it is not on record
    read_batches: Callable[[], tuple[frozenset[str], ...]]  # see `batches`
    converged: tuple[bool | None, ...]  # (R,) `TrainReport.has_converged`
    labels: int  # answered
    validation: int  # spent on choosing an epoch
    looked_at: int  # spent on balancing the seed set
    seconds: Mapping[str, float]  # wall time of each stage, all rounds together
    gpu_seconds: float  # of training and scoring

    @cached_property
    def batches(self) -> tuple[frozenset[str], ...]:
        """Ids asked for, the seed set first, then round by round; read when somebody looks.

        Raises:
            LedgerError: The ledger cannot be read any more.
        """
        return self.read_batches()


@dataclass(frozen=True, eq=False)
class RunCurve:
    """The measured rounds of one run."""

    run: str
    strategy: str
    seed: int
    dataset: str
    group: str  # the strategy plus whatever else differs between the runs compared
    labels: Labels  # (R,) ascending; labels each round trained on
    metrics: Mapping[str, Doubles]  # each (R,)
    state: str  # `FINISHED`, or how far the run got
    setting: str = ""  # what runs that are compared must have in common, beside the regime
    marks: tuple[str, ...] = ()  # what was done against the protocol, on purpose
    background: Background | None = None  # None for a curve that is not read from a ledger

    def __post_init__(self) -> None:
        if len(self.labels) == 0 or (np.diff(self.labels) <= 0).any():
            raise ValueError(
                f"run {self.run} has label counts {self.labels.tolist()}; they must ascend, and "
                "there must be one"
            )
        for name, values in self.metrics.items():
            if values.shape != self.labels.shape:
                raise ValueError(
                    f"run {self.run} has {len(values)} values of {name} for {len(self.labels)} "
                    "rounds; give one for each"
                )

    @property
    def start(self) -> int:
        """Labels of the first round."""
        return int(self.labels[0])

    @property
    def step(self) -> int:
        """Labels of the first batch; 0 where there is one round only."""
        return int(self.labels[1] - self.labels[0]) if len(self.labels) > 1 else 0

    @property
    def cell(self) -> tuple[str, int, int, str]:
        """Equal for runs that may be compared: dataset, start, step, setting."""
        return self.dataset, self.start, self.step, self.setting

    def values(self, metric: str) -> Doubles:
        """The metric of each round.

        Raises:
            ConfigError: The run does not have it, or not in every round.
        """
        if metric not in self.metrics:
            raise ConfigError(
                f"run {self.run} has no metric {metric!r}; it has "
                f"{', '.join(sorted(self.metrics)) or 'none'}"
            )
        values = self.metrics[metric]
        missing = ~np.isfinite(values)
        if missing.any():
            raise ConfigError(
                f"{metric} of run {self.run} is {values[missing][0]} at {self.labels[missing][0]} "
                "labels; compare another metric, or leave the run out"
            )
        return values


def aulc(
    labels: Labels | Doubles,
    values: Doubles,
    *,
    low: float | None = None,
    high: float | None = None,
) -> float:
    """Area under the learning curve on the label axis: the mean height between `low` and `high`.

    Trapezoids with the true label counts, linear between rounds, never beyond the curve. Over a
    range of one point it is the value there.

    Args:
        labels: (R,) ascending.
        values: (R,).
        low: Where the range begins; by default where the curve does.
        high: Where it ends; by default where the curve does.

    Raises:
        ValueError: The range is empty or leaves the curve.
    """
    low = float(labels[0]) if low is None else low
    high = float(labels[-1]) if high is None else high
    if not labels[0] <= low <= high <= labels[-1]:
        raise ValueError(
            f"the range {low:g} to {high:g} is not within the curve, {labels[0]} to {labels[-1]} "
            "labels; a curve is never extrapolated"
        )
    if low == high:
        return float(np.interp(low, labels, values))
    inner = labels[(labels > low) & (labels < high)]
    points = np.concatenate([[low], inner, [high]])
    return float(np.trapezoid(np.interp(points, labels, values), points) / (high - low))


def mean_over_rounds(values: Doubles) -> float:
    """The plain mean of the rounds, which gives both ends full weight; not the AULC.

    LabelBench's published tables (Zhang et al. 2023, https://arxiv.org/abs/2306.09910) use it.
    """
    return float(np.mean(values))


def labels_to_reach(labels: Labels, values: Doubles, target: float) -> float | None:
    """The smallest label count where the line through the rounds reaches `target`; None: never."""
    reached = np.flatnonzero(values >= target)
    if len(reached) == 0:
        return None
    first = int(reached[0])
    if first == 0:
        return float(labels[0])
    before, after = values[first - 1], values[first]
    share = (target - before) / (after - before)
    return float(labels[first - 1] + share * (labels[first] - labels[first - 1]))


def common_range(curves: Sequence[RunCurve]) -> tuple[int, int]:
    """The label counts that every curve covers, from and to.

    Raises:
        ConfigError: They do not meet.
    """
    last_start = max(curves, key=lambda curve: curve.labels[0])
    first_end = min(curves, key=lambda curve: curve.labels[-1])
    low, high = last_start.start, int(first_end.labels[-1])
    if low > high:
        raise ConfigError(
            f"run {first_end.run} ends at {high} labels, before run {last_start.run} starts at "
            f"{low}; leave one of them out"
        )
    return low, high
