"""Sends what a tracker has missed of a run that is not being driven."""

from __future__ import annotations

from al_orchestrator.config import load_config
from al_orchestrator.datasets import load
from al_orchestrator.errors import LedgerError
from al_orchestrator.experiment import mirror_of
from al_orchestrator.pool import Pool
from al_orchestrator.run_dir import RunDir, Workspace

_PATIENCE_S = 120.0


def sync_run(run: RunDir, workspace: Workspace) -> tuple[int, int]:
    """Sends the outbox of a run; returns how many messages went and how many stay.

    Raises:
        RunInUse: A controller drives the run, and sends by itself.
        LedgerError: The run has not begun.
    """
    with run.held(), Pool(run.ledger) as pool:
        provenance = pool.provenance()
        if provenance is None:
            raise LedgerError(
                f"{run.folder} holds a run that has not begun; there is nothing to send"
            )
        before = len(pool.unsent())
        if not before:
            return 0, 0
        data = load(workspace.root / "datasets" / provenance.dataset)
        mirror = mirror_of(pool, run, load_config(run.config), workspace, data)
        mirror.start()
        left = mirror.close(_PATIENCE_S)
    return before - left, left
