"""With how many labels a group is where the baseline ends, seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from al_orchestrator.metric_names import lower_is_better
from al_orchestrator.reports.curves import RunCurve, labels_to_reach


@dataclass(frozen=True)
class LabelsToTarget:
    """Where runs reach the value at which the baseline's run of the same seed ends."""

    labels: float | None  # the median over seeds; None: most never do
    end: int  # the label count at which the baseline ends
    reached: int  # seeds that do
    seeds: int  # seeds in common with the baseline

    @property
    def efficiency(self) -> float | None:
        """How many times fewer labels than the baseline took."""
        return None if self.labels is None else self.end / self.labels


def labels_to_target(
    runs: Mapping[int, RunCurve], baseline: Mapping[int, RunCurve], metric: str, end: int
) -> LabelsToTarget | None:
    """The median label count at which a group reaches the baseline's value at `end` labels.

    A seed that never does counts as more than any number, so it moves the median and is not lost.
    None without a seed in common.
    """
    sign = -1.0 if lower_is_better(metric) else 1.0
    found: list[float] = []
    for seed in sorted(runs.keys() & baseline.keys()):
        run, aim = runs[seed], baseline[seed]
        within = aim.labels <= end
        target = sign * float(aim.values(metric)[within][-1])
        seen = run.labels <= end
        at = labels_to_reach(run.labels[seen], sign * run.values(metric)[seen], target)
        found.append(math.inf if at is None else at)
    if not found:
        return None
    middle = statistics.median(found)
    reached = sum(math.isfinite(each) for each in found)
    return LabelsToTarget(middle if math.isfinite(middle) else None, end, reached, len(found))
