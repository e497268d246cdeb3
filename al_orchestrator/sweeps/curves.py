"""The curves of a sweep's runs, named by its options, for a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from al_orchestrator.errors import ConfigError
from al_orchestrator.reports.curves import FINISHED, RunCurve
from al_orchestrator.reports.runs import curve_of, status_of
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps.plan import Plan
from al_orchestrator.sweeps.standing import standings


def compared_axes(plan: Plan, asked: Sequence[str]) -> list[str]:
    """The axes whose options are compared: those asked for, else the strategy or the first one.

    Raises:
        ConfigError: The sweep has no such axis, or none that can be compared.
    """
    unknown = [axis for axis in asked if axis not in plan.axes]
    if unknown:
        raise ConfigError(
            f"sweep {plan.name} has no axis {unknown[0]!r}; it has {', '.join(plan.axes) or 'none'}"
        )
    regimes = [axis for axis in asked if axis in plan.regimes]
    if regimes:
        raise ConfigError(
            f"axis {regimes[0]} of sweep {plan.name} sets the budget alone: its options are "
            "regimes, which stand beside each other in every comparison"
        )
    if asked:
        return list(asked)
    others = [axis for axis in plan.axes if axis not in plan.regimes]
    if not others:
        raise ConfigError(f"sweep {plan.name} varies nothing that could be compared")
    return ["strategy"] if "strategy" in others else others[:1]


def default_baseline(plan: Plan, axes: Sequence[str]) -> str | None:
    """The first option of an axis; of strategies, whichever samples at random (None)."""
    return None if "strategy" in axes else " ".join(plan.axes[axis][0] for axis in axes)


def curves_of(plan: Plan, workspace: Workspace, axes: Sequence[str]) -> tuple[list[RunCurve], int]:
    """Curves of the finished runs: groups by the options of `axes`, settings by all others.

    Returns:
        The curves, and how many runs of the sweep have not finished and are left out.
    """
    rest = [axis for axis in plan.axes if axis not in axes and axis not in plan.regimes]
    curves = []
    for each in standings(workspace, plan.trials):
        if each.state != FINISHED:
            continue
        options = each.trial.options
        group = " ".join(options[axis] for axis in axes)
        setting = ", ".join(f"{axis} {options[axis]}" for axis in rest)
        curves.append(curve_of(status_of(workspace.run(each.trial.name)), group, setting))
    return curves, len(plan.trials) - len(curves)
