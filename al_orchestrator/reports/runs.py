"""How runs stand, read from their ledgers; looking never changes a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from al_orchestrator.config import ExperimentConfig, load_config, marks_of, recorded_marks
from al_orchestrator.config.identity import identity
from al_orchestrator.datasets import load
from al_orchestrator.errors import ConfigError, DatasetError
from al_orchestrator.files import digest_of_json
from al_orchestrator.pool import Event, Pool
from al_orchestrator.reports.curves import Background, RunCurve
from al_orchestrator.reports.groups import name_groups
from al_orchestrator.rounds import Round, RoundState
from al_orchestrator.run_dir import RunDir, Workspace

State = Literal["running", "finished", "waiting", "failed", "interrupted"]


@dataclass(frozen=True)
class RunStatus:
    """A run at this moment."""

    folder: Path  # of the run
    state: State
    rounds: tuple[Round, ...]
    labels: int  # answered so far
    missing: int  # asked and not answered
    validation: int  # labels spent on choosing an epoch
    looked_at: int  # labels looked at to balance the seed set, which are spent too; 0 if none were
    unsent: int  # messages the tracker has yet to take
    starts: int
    lost_workers: int
    owner: Mapping[str, object] | None
    why: str  # of the last failure, if that is how it stands
    stopped: str  # the limit or rule that ended it, if it has ended and its ledger says so
    fingerprint: str  # of the dataset it was started on
    config: ExperimentConfig
    marks: tuple[str, ...] = ()  # what is, or ever was, done against the protocol
    planned: Mapping[str, Any] = field(default_factory=dict)  # sizes of the sets, once on record
    seed_set: str = ""  # digest of its ids; empty before it is chosen
    trained: tuple[Mapping[str, Any], ...] = ()  # what training left on record, by round
    selected: tuple[Mapping[str, Any], ...] = ()  # the same of selecting
    programs: tuple[str, ...] = ()  # versions of this program that drove it
    classes: tuple[str, ...] = ()  # their names, by code; empty where the packed dataset is gone

    @property
    def run(self) -> str:
        """Its name."""
        return RunDir(self.folder).name

    @property
    def has_ended(self) -> bool:
        """Whether its last round is closed, even if its process still sends what is left."""
        return bool(self.rounds) and self.rounds[-1].state is RoundState.CLOSED

    def to_json(self) -> dict[str, object]:
        """Plain values that `json.dumps` takes."""
        return {
            "run": self.run,
            "state": self.state,
            "strategy": self.config.strategy.name,
            "seed": self.config.seed,
            "labels": self.labels,
            "missing": self.missing,
            "labels_looked_at": self.looked_at,
            "unsent": self.unsent,
            "starts": self.starts,
            "lost_workers": self.lost_workers,
            "owner": self.owner,
            "why": self.why,
            "stopped": self.stopped,
            "rounds": [
                {
                    "number": r.number,
                    "state": r.state.value,
                    "labelled": r.labelled,
                    "metrics": dict(r.metrics),
                    "seconds": dict(r.seconds),
                }
                for r in self.rounds
            ],
        }


def find_run(workspace: Workspace, name: str) -> RunDir:
    """The run called `name`, or the one in the folder `name`.

    Raises:
        ConfigError: There is none; the message lists those there are.
    """
    run = RunDir(Path(name).resolve()) if "/" in name else workspace.run(name)
    if run.ledger.exists() and run.config.exists():
        return run
    there = ", ".join(run.name for run in workspace.runs()) or "none"
    raise ConfigError(f"there is no run {name!r} in {workspace.root}; there are: {there}")


def status_of(run: RunDir) -> RunStatus:
    """How a run stands.

    Raises:
        NewerLedger: A newer program wrote its ledger.
        LedgerError: The ledger cannot be read.
    """
    config = load_config(run.config)
    with Pool(run.ledger, read_only=True) as pool:
        rounds = tuple(pool.rounds())
        asked, answered = pool.num_asked(), pool.num_answered()
        first = sorted(sample.id for sample in pool.acquired(0))
        events = pool.events()
        unsent = len(pool.unsent())
        provenance = pool.provenance()
        lost = pool.lost_attempts()
        seed_set = pool.stage(0, "seed_set") or {}
        trained = tuple(pool.stage(each.number, "train") or {} for each in rounds)
        selected = tuple(pool.stage(each.number, "select") or {} for each in rounds)
    planned = next((each.detail for each in events if each.kind == "planned"), {})
    missing = asked - answered
    owner = run.owner()
    last = events[-1] if events else None
    has_ended = bool(rounds) and rounds[-1].state is RoundState.CLOSED
    state: State
    if owner is not None:
        state = "running"
    elif has_ended:
        state = "finished"
    elif last is not None and last.kind == "failed":
        state = "failed"
    elif missing and config.oracle.name != "simulated":
        state = "waiting"
    else:
        state = "interrupted"
    return RunStatus(
        folder=run.folder,
        state=state,
        rounds=rounds,
        labels=answered,
        missing=missing,
        validation=int(planned.get("validation", 0)),
        looked_at=int(seed_set.get("notes", {}).get("labels_looked_at", 0)),
        unsent=unsent,
        starts=sum(event.kind == "started" for event in events),
        lost_workers=lost,
        owner=owner,
        why=str(last.detail.get("why", "")) if last is not None and state == "failed" else "",
        stopped=_end_of(events) if has_ended else "",
        fingerprint=provenance.dataset if provenance is not None else "",
        config=config,
        marks=tuple(dict.fromkeys((*recorded_marks(events), *marks_of(config)))),
        planned=planned,
        seed_set=digest_of_json(first) if first else "",
        trained=trained,
        selected=selected,
        programs=_programs(events),
        classes=_classes_of(run.folder.parent, provenance.dataset if provenance else ""),
    )


@cache
def _classes_of(root: Path, fingerprint: str) -> tuple[str, ...]:
    """Of the packed dataset: the source may be gone. Empty where the pack is gone, too."""
    try:
        return load(Workspace(root).root / "datasets" / fingerprint).manifest.classes
    except DatasetError:
        return ()


def batches_of(run: RunDir) -> tuple[frozenset[str], ...]:
    """Every id a run has asked for, the seed set first, then round by round.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    with Pool(run.ledger, read_only=True) as pool:
        acquired = pool.acquired()
    rounds = 1 + max((sample.round for sample in acquired), default=-1)
    asked: list[set[str]] = [set() for _ in range(rounds)]
    for sample in acquired:
        asked[sample.round].add(sample.id)
    return tuple(map(frozenset, asked))


def _programs(events: Sequence[Event]) -> tuple[str, ...]:
    starts = [event.detail for event in events if event.kind == "started"]
    versions = [each["al-orchestrator"] for each in starts if "al-orchestrator" in each]
    return tuple(dict.fromkeys(map(str, versions)))


def _end_of(events: Sequence[Event]) -> str:
    ends = [str(event.detail.get("why", "")) for event in events if event.kind == "finished"]
    return ends[-1] if ends else ""


def plan_of(status: RunStatus) -> str:
    """What going on with a run would do first."""
    if status.state == "running":
        return f"{status.run} is being driven; there is nothing to resume"
    if status.state == "finished":
        by = f" ({status.stopped})" if status.stopped else ""
        return (
            f"{status.run} is finished with {status.labels} labels{by}; a larger budget, or fewer "
            "stopping rules, goes on"
        )
    if not status.rounds:
        return f"{status.run}: choose and label the seed set, then train round 0"
    last = status.rounds[-1]
    return f"{status.run}: round {last.number} is {last.state}; next: {_NEXT[last.state]}"


_NEXT = {
    RoundState.OPEN: "train on its labels, from the last epoch checkpoint if there is one",
    RoundState.TRAINED: "score the pool and select the next batch",
    RoundState.QUERIED: "ask the oracle for what is unanswered",
    RoundState.LABELLED: "open the next round",
}


def curve_of(status: RunStatus, group: str, setting: str = "") -> RunCurve:
    """The measured rounds of a run, as comparisons want them; see `RunCurve`.

    Raises:
        ConfigError: No round of it has been measured yet.
    """
    measured = [r for r in status.rounds if r.metrics]
    if not measured:
        raise ConfigError(f"run {status.run} has no measured round yet; let it go on first")
    names = sorted(set.intersection(*(set(r.metrics) for r in measured)))
    return RunCurve(
        run=status.run,
        strategy=status.config.strategy.name,
        seed=status.config.seed,
        dataset=f"{status.config.dataset.name} {status.fingerprint[:6]}",
        group=group,
        labels=np.array([r.labelled for r in measured], dtype=np.int64),
        metrics={name: np.array([r.metrics[name] for r in measured]) for name in names},
        state=status.state,
        setting=setting,
        marks=status.marks,
        background=_background(status),
    )


def _background(status: RunStatus) -> Background:
    config = status.config
    seconds: dict[str, float] = defaultdict(float)
    gpu_seconds = 0.0
    for each, trained in zip(status.rounds, status.trained, strict=True):
        for stage, taken in each.seconds.items():
            seconds[stage] += taken
        if str(trained.get("notes", {}).get("device", "")).startswith("cuda"):
            used = sum(each.seconds.get(stage, 0.0) for stage in ("train", "score"))
            gpu_seconds += used * config.resources.gpus_per_worker
    measured = [t for r, t in zip(status.rounds, status.trained, strict=True) if r.metrics]
    return Background(
        classes=status.classes,
        pool=int(status.planned.get("pool", 0)),
        read_batches=partial(batches_of, RunDir(status.folder)),
        converged=tuple(each.get("has_converged") for each in measured),
        labels=status.labels,
        validation=status.validation,
        looked_at=status.looked_at,
        seconds=dict(seconds),
        gpu_seconds=gpu_seconds,
    )


def groups_of(statuses: list[RunStatus]) -> dict[str, str]:
    """A name for each run's group: its strategy, and what else differs but the seed."""
    return name_groups({s.run: identity(s.config) for s in statuses})
