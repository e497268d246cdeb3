"""How often one group beats another, round by round: the pairwise penalty matrix.

Introduced by Ash et al. 2020 (arXiv 1906.03671, section 5). Here differences are paired by seed,
the row beats the column, and rounds with too few pairs are left out and counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from al_orchestrator.metric_names import lower_is_better
from al_orchestrator.reports.curves import RunCurve
from al_orchestrator.reports.statistics import paired_p, t_interval

ALPHA = 0.05
LEAST_PAIRS = 3


@dataclass(frozen=True)
class Penalty:
    """Shares of rounds in which the row's group was better than the column's, by a paired t test.

    Entry and mirrored entry sum to 1 at most. Without any effect an entry is about α/2.
    """

    groups: tuple[str, ...]
    alpha: float
    shares: tuple[tuple[float | None, ...], ...]  # None where there was nothing to compare
    points: tuple[tuple[int, ...], ...]  # rounds compared, of all cells
    skipped: int  # rounds of pairs with fewer than three seeds in common

    @property
    def wins(self) -> tuple[float | None, ...]:
        """Of each group, how often it beats another: the mean of its row."""
        return tuple(_mean(row) for row in self.shares)

    @property
    def losses(self) -> tuple[float | None, ...]:
        """Of each group, how often another beats it: the mean of its column."""
        return tuple(_mean([row[n] for row in self.shares]) for n in range(len(self.groups)))


def penalty_matrix(runs: Sequence[RunCurve], metric: str, *, alpha: float = ALPHA) -> Penalty:
    """Compares every two groups at every label count that both measured, but the first.

    The first round is trained on the same labels whatever the strategy, so it tells nothing.
    Differences without any spread are no test and count for neither.

    Args:
        runs: Of any cells; only runs of one cell and seed are compared.
        metric: A name that every run has.
        alpha: Level of each test, two-sided and unadjusted.
    """
    sign = -1.0 if lower_is_better(metric) else 1.0
    cells: dict[tuple[str, int, int, str], dict[str, dict[int, RunCurve]]] = {}
    for run in runs:
        cells.setdefault(run.cell, defaultdict(dict))[run.group][run.seed] = run
    groups = tuple(sorted({run.group for run in runs}))
    wins: dict[tuple[str, str], int] = defaultdict(int)
    points: dict[tuple[str, str], int] = defaultdict(int)
    skipped = 0
    for members in cells.values():
        for one, other in combinations(sorted(members), 2):
            for differences in _by_labels(members[one], members[other], metric):
                if len(differences) < LEAST_PAIRS:
                    skipped += 1
                    continue
                points[one, other] += 1
                p = paired_p(differences)
                if p is not None and p < alpha:
                    better = sign * t_interval(differences).mean > 0
                    wins[(one, other) if better else (other, one)] += 1
    counts = tuple(tuple(points[min(a, b), max(a, b)] for b in groups) for a in groups)
    return Penalty(
        groups=groups,
        alpha=alpha,
        shares=tuple(
            tuple(
                wins[a, b] / compared if compared else None
                for b, compared in zip(groups, row, strict=True)
            )
            for a, row in zip(groups, counts, strict=True)
        ),
        points=counts,
        skipped=skipped,
    )


def _by_labels(
    ones: Mapping[int, RunCurve], others: Mapping[int, RunCurve], metric: str
) -> list[list[float]]:
    """Differences of the seeds in common, at each label count but the first."""
    found: dict[int, list[float]] = defaultdict(list)
    for seed in sorted(ones.keys() & others.keys()):
        one, other = ones[seed], others[seed]
        theirs = dict(zip(other.labels.tolist(), other.values(metric).tolist(), strict=True))
        for labels, value in zip(one.labels.tolist(), one.values(metric).tolist(), strict=True):
            if labels > one.start and labels in theirs:
                found[labels].append(value - theirs[labels])
    return [found[labels] for labels in sorted(found)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
