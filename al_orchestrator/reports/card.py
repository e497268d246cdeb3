"""What a reader has to know before believing a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from al_orchestrator.errors import ConfigError
from al_orchestrator.pool import Pool
from al_orchestrator.reports.curves import RunCurve
from al_orchestrator.reports.runs import RunStatus, find_run, status_of
from al_orchestrator.run_dir import Workspace


def protocol_card(workspace: Workspace, runs: Sequence[RunCurve]) -> dict[str, str]:
    """Data, labels spent, learners, hardware and disturbances of these runs, each value once."""
    statuses: list[RunStatus] = []
    notes: list[dict[str, str]] = []
    for run in runs:
        try:
            found = find_run(workspace, run.run)
        except ConfigError:
            continue  # of a folder elsewhere
        statuses.append(status_of(found))
        with Pool(found.ledger, read_only=True) as pool:
            trained = [pool.stage(each.number, "train") or {} for each in pool.rounds()]
        notes += [each.get("notes", {}) for each in trained]
    if not statuses:
        return {}
    configs = [status.config for status in statuses]
    seeds = sorted({config.seed for config in configs})
    started_again = sum(status.starts > 1 for status in statuses)
    card = {
        "data": {f"{s.config.dataset.name}, fingerprint {s.fingerprint[:12]}" for s in statuses},
        "labels asked for": {f"{status.labels:,}" for status in statuses},
        "labels for validation": {f"{status.validation:,}" for status in statuses},
        "labels looked at for the seed set": {f"{s.looked_at:,}" for s in statuses if s.looked_at},
        "seed set": {f"{c.budget.initial:,} by {c.seed_set.name}" for c in configs},
        "batches": {f"{c.budget.batch_size:,} a round" for c in configs},
        "learner": {
            f"{config.trainer.name}, weights {getattr(config.trainer, 'weights', 'of members')}"
            for config in configs
        },
        "seeds": {", ".join(map(str, seeds))},
        "test set": {"measured after the last epoch of a round; nothing was chosen by it"},
        "hardware": {note["hardware"] for note in notes if "hardware" in note},
        "precision": {note["precision"] for note in notes if "precision" in note},
        "torch": {note["torch"] for note in notes if "torch" in note},
        "runs started again": {str(started_again)},
        "lost workers": {str(sum(status.lost_workers for status in statuses))},
    }
    return {name: "; ".join(sorted(values)) for name, values in card.items() if values}
