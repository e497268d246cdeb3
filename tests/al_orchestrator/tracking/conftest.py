"""One run and the messages that tell of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from al_orchestrator.tracking import Message, RunIdentity

# The tests import MLflow themselves, before a tracker could keep it from writing below $HOME.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def run(tmp_path: Path) -> RunIdentity:
    """A run with one artifact in its folder."""
    (tmp_path / "runs" / "badge-0" / "round-000" / "sheets").mkdir(parents=True)
    (tmp_path / "runs" / "badge-0" / "round-000" / "sheets" / "a.txt").write_text("seen")
    return RunIdentity(
        key="badge-0#1f", name="badge-0", experiment="faces", folder=tmp_path / "runs" / "badge-0",
        started_ms=1_000,
    )  # fmt: skip


@pytest.fixture
def messages() -> list[Message]:
    """One of every kind, in the order the ledger commits them."""
    datasets = [
        {"name": "fer13", "digest": "d" * 64, "context": "pool", "rows": 28_709},
        {"name": "fer13", "digest": "d" * 64, "context": "test", "rows": 3_589},
    ]
    return [
        Message(
            "run",
            {
                "params": {"strategy.name": "badge", "seed": "0", "encoder": ""},
                "tags": {"alo.strategy": "badge"},
                "datasets": datasets,
            },
            2_000,
        ),
        Message("metrics", {"step": 35, "metrics": {"test/accuracy": 0.25}}, 3_000),
        Message("metrics", {"step": 70, "metrics": {"test/accuracy": 0.5}}, 4_000),
        Message("artifacts", {"folder": "round-000/sheets", "to": "round-000", "round": 0}, 5_000),
        Message("status", {"status": "FINISHED"}, 6_000),
    ]
