"""Removes what interrupted work left in a workspace."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from al_orchestrator.errors import AloError
from al_orchestrator.pool import Pool
from al_orchestrator.rounds import RoundState
from al_orchestrator.run_dir import RunDir, Workspace, kept_of

logger = logging.getLogger(__name__)


def clean_workspace(workspace: Workspace) -> int:
    """Tidies every run that nobody drives; returns the bytes freed."""
    before = _size(workspace.root)
    for run in workspace.runs():
        try:
            with run.held():
                _clean_run(run)
        except AloError as error:  # in use, or beyond reading
            logger.warning("%s is left alone: %s", run.name, error)
    for leftover in (workspace.root / "datasets").glob(".packing-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return before - _size(workspace.root)


def _clean_run(run: RunDir) -> None:
    with Pool(run.ledger, read_only=True) as pool:
        for each in pool.rounds():
            if each.state is RoundState.CLOSED:
                trained, explained = (pool.stage(each.number, n) for n in ("train", "explain"))
                run.tidy(each.number, kept_of(trained, explained))


def _size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
