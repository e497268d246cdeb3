"""A sweep as people see it in the mirror: a run of its own with the comparison, its runs below it.

Nothing depends on it, and doing it twice changes nothing, so a sweep does it each time it ends.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from al_orchestrator.config import marks_of
from al_orchestrator.errors import AloError, TrackingError
from al_orchestrator.experiment import identity_in_mirror
from al_orchestrator.files import digest_of_json, write_text
from al_orchestrator.pool import Pool
from al_orchestrator.reports.card import protocol_card
from al_orchestrator.reports.comparison import compare
from al_orchestrator.reports.comparison_page import comparison_page
from al_orchestrator.reports.exchange import write_curves, write_results
from al_orchestrator.reports.plots import plot_cells
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps.curves import compared_axes, curves_of, default_baseline
from al_orchestrator.sweeps.plan import Plan
from al_orchestrator.tracking import Message, RunIdentity

logger = logging.getLogger(__name__)

METRIC = "test/balanced_accuracy"


def show_sweep(plan: Plan, root: str | Path) -> Path | None:
    """Writes the comparison of a sweep's finished runs and shows it in their mirror.

    A mirror that cannot be reached is told of in the log, and the next sweep tries again.

    Returns:
        The folder with the page, tables and figures; None where there is nothing to compare yet.
    """
    workspace = Workspace(Path(root).resolve())
    folder = workspace.root / "compare" / plan.name
    try:
        is_written = _write(plan, workspace, folder)
    except AloError as error:
        logger.warning("the sweep cannot be compared: %s", error)
        is_written = False
    try:
        _show(plan, workspace, folder, with_files=is_written)
    except (TrackingError, OSError) as error:
        logger.warning("%s; the sweep's own page in the mirror waits for the next one", error)
    return folder if is_written else None


def _write(plan: Plan, workspace: Workspace, folder: Path) -> bool:
    axes = compared_axes(plan, [])
    curves, _ = curves_of(plan, workspace, axes)
    if not curves:
        return False
    result = compare(curves, METRIC, baseline=default_baseline(plan, axes))
    plot_cells(result, curves, folder / "curves.png")
    write_results(result, folder / "results.csv")
    write_curves(curves, folder / "curves.csv")
    card = protocol_card(workspace, curves)
    page = comparison_page(result, curves, title=f"sweep {plan.name}", card=card)
    write_text(folder / "comparison.html", page)
    return True


def _show(plan: Plan, workspace: Workspace, folder: Path, *, with_files: bool) -> None:
    first = plan.trials[0].config
    tracker = first.tracking.connect(workspace.root)
    now = int(time.time() * 1000)
    key = digest_of_json([str(workspace.root), plan.name])[:32]
    parent = RunIdentity(f"sweep-{key}", plan.name, first.dataset.name, folder, now)
    params = {axis: ", ".join(options) for axis, options in plan.axes.items()}
    params["seeds"] = ", ".join(map(str, plan.seeds))
    marks = "; ".join(dict.fromkeys(m for t in plan.trials for m in marks_of(t.config)))
    tags = {"alo.kind": "sweep", **({"alo.marks": marks} if marks else {})}
    about = {"params": params, "tags": tags, "datasets": []}
    try:
        tracker.open(parent)
        tracker.send(Message("run", about, now))
        if with_files:
            tracker.send(Message("artifacts", {"folder": ".", "to": ""}, now))
        tracker.send(Message("status", {"status": "FINISHED"}, now))
        for trial in plan.trials:
            run = workspace.run(trial.name)
            if not run.has_ledger:
                continue
            with Pool(run.ledger, read_only=True) as pool:
                identity = identity_in_mirror(pool, run, trial.config)
            if identity is not None:
                tracker.open(identity)
                tracker.place_below(parent)
    finally:
        tracker.close()
