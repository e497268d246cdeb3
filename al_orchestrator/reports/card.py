"""What a reader has to know before believing a number: the protocol card of some runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from al_orchestrator.config import warnings_of
from al_orchestrator.datasets import load
from al_orchestrator.errors import ConfigError, DatasetError
from al_orchestrator.files import digest_of_json, write_text
from al_orchestrator.reports.catalogue import strategy_entries
from al_orchestrator.reports.curves import RunCurve
from al_orchestrator.reports.runs import RunStatus, find_run, status_of
from al_orchestrator.run_dir import RunDir, Workspace

Card = dict[str, str]
"""Headings and what is to be said under them, in the order to be read."""

_LISTED = 4
"""So many different values are listed; of more, only their number is told."""

_ENOUGH_SEEDS = 5
"""With fewer a comparison is warned of: protocol.md, section 8."""


def protocol_card(workspace: Workspace, runs: Sequence[RunCurve]) -> Card:
    """The card of the runs compared; empty where none of them lies in this workspace."""
    statuses: list[RunStatus] = []
    for run in runs:
        try:
            statuses.append(status_of(find_run(workspace, run.run)))
        except ConfigError:
            continue  # of a file, or of a folder elsewhere
    return card_of(workspace, statuses)


def card_of(workspace: Workspace, statuses: Sequence[RunStatus]) -> Card:
    """Data, labels spent, design, learner, execution and deviations, each value once."""
    if not statuses:
        return {}
    parts = {
        **_data(workspace, statuses),
        **_labels(statuses),
        **_learner(statuses),
        **_execution(statuses),
        **_deviations(statuses),
    }
    return {name: "; ".join(values) for name, values in parts.items() if values}


def write_card(run: RunDir) -> None:
    """Writes the card of one run as Markdown into its `protocol` folder, over an earlier one."""
    card = card_of(Workspace(run.folder.parent), [status_of(run)])
    lines = [f"- **{name}**: {' '.join(text.split())}" for name, text in card.items()]
    text = "\n".join([f"# Protocol card of {run.name}", "", *lines, ""])
    run.protocol.mkdir(exist_ok=True)
    write_text(run.protocol / "card.md", text)


def _data(workspace: Workspace, statuses: Sequence[RunStatus]) -> dict[str, list[str]]:
    datasets = {s.fingerprint: s.config.dataset for s in statuses}
    dropped = {
        f"{count:,} training images that {_WHY[why]} were left out"
        for s in statuses
        for why, count in s.planned.get("dropped", {}).items()
        if count
    }
    return {
        "data": _each(f"{d.name}, fingerprint {f[:12]}" for f, d in datasets.items()),
        "sets": _each(
            f"pool {s.planned['pool']:,}, {_validated(s)}, test {s.planned['test']:,}"
            for s in statuses
            if s.planned
        ),
        "classes in pool and test": _each(
            _histogram(workspace, s.fingerprint, merged=s.config.validation.merge) for s in statuses
        ),
        "duplicates": sorted(dropped) or ["none were left out"],
    }


_WHY = {
    "across_splits": "stand in validation or test too",
    "conflicting": "repeat under another label",
    "within_pool": "repeat an earlier one",
}


@cache
def _histogram(workspace: Workspace, fingerprint: str, *, merged: bool) -> str:
    """Counts of each class before anything was dropped; empty where the dataset is gone."""
    try:
        manifest = load(workspace.root / "datasets" / fingerprint).manifest
    except DatasetError:
        return ""
    parts = {"train": ("train", "val") if merged else ("train",), "test": ("test",)}
    counts = {
        name: np.bincount(
            manifest.labels[np.isin(manifest.splits, splits) & (manifest.labels >= 0)],
            minlength=len(manifest.classes),
        )
        for name, splits in parts.items()
    }
    return ", ".join(
        f"{name} {counts['train'][code]:,}/{counts['test'][code]:,}"
        for code, name in enumerate(manifest.classes)
    )


def _labels(statuses: Sequence[RunStatus]) -> dict[str, list[str]]:
    by_seed: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for s in statuses:
        if s.seed_set:
            # What is to be the same for all strategies of a seed.
            budget = s.config.budget
            key = (s.fingerprint, s.config.seed, budget.initial, repr(s.config.seed_set))
            by_seed[key].add(s.seed_set)
    differing = sum(len(digests) > 1 for digests in by_seed.values())
    shared = (
        f"different seed sets for one seed in {differing} cases"
        if differing
        else "runs of one seed began with the same seed set"
    )
    return {
        "labels asked for": _each(f"{s.labels:,}" for s in statuses),
        "labels for validation": _each(f"{s.validation:,}" for s in statuses),
        "labels looked at for the seed set": _each(
            f"{s.looked_at:,}" for s in statuses if s.looked_at
        ),
        "seed set": [
            *_each(f"{s.config.budget.initial:,} by {s.config.seed_set.name}" for s in statuses),
            *([shared] if len(statuses) > len(by_seed) else []),
        ],
        "ids of the seed set": _each(f"digest {s.seed_set[:12]}" for s in statuses if s.seed_set),
        "batches": _each(f"{s.config.budget.batch_size:,} a round" for s in statuses),
        "strategies": _each(_parameters(s.config.strategy) for s in statuses),
        "laws of strategies": _laws(statuses),
    }


def _validated(status: RunStatus) -> str:
    if status.config.validation.merge:
        return "the val split among it and no validation"
    return f"validation {status.validation:,} of {status.config.validation.split}"


def _views_of(trainer: Any) -> str:
    """The random views a fit sees of its images."""
    recipe = getattr(trainer, "member", trainer)
    if not hasattr(recipe, "augmentation"):
        return "images as they are"
    further = {name: getattr(recipe, name) for name in ("erasing", "noise")}
    return ", ".join(
        [
            _parameters(recipe.augmentation),
            *(
                f"{name} ({', '.join(f'{k} {v}' for k, v in part.model_dump().items())})"
                for name, part in further.items()
                if part is not None
            ),
        ]
    )


def _parameters(component: Any) -> str:
    set_by_hand = component.model_dump(exclude={"name"}, exclude_defaults=True)
    told = ", ".join(f"{name} {value}" for name, value in set_by_hand.items())
    return f"{component.name} ({told})" if told else str(component.name)


def _laws(statuses: Sequence[RunStatus]) -> list[str]:
    """The laws that selected, with the version each had then, and what of it is not as published.

    A run of an older program has no version on record, and it is not guessed.
    """
    selected = [record for s in statuses for record in s.selected if record]
    versions: dict[str, set[int]] = defaultdict(set)
    for name, version in ((n, v) for each in selected for n, v in each.get("laws", {}).items()):
        versions[name].add(version)
    known = {entry.name: entry for entry in strategy_entries()} if versions else {}
    told = []
    for name, of_it in sorted(versions.items()):
        text = f"{name} version {' and '.join(map(str, sorted(of_it)))}"
        entry = known.get(name)
        if entry is None or of_it != {entry.law}:
            now = "has none of that name" if entry is None else f"has version {entry.law}"
            told.append(f"{text} (the program that writes this {now})")
        else:
            told.append(f"{text}, {'differs from' if entry.differs else 'as in'} its reference")
    without = sum("laws" not in record for record in selected)
    return [
        *told,
        *([f"not on record in {without:,} of {len(selected):,} rounds"] if without else []),
    ]


def _learner(statuses: Sequence[RunStatus]) -> dict[str, list[str]]:
    trained = [record for s in statuses for record in s.trained if record]
    met = [r["has_converged"] for r in trained if r.get("has_converged") is not None]
    trainers = {
        digest_of_json(s.config.trainer.model_dump(mode="json"))[:8]: s.config.trainer
        for s in statuses
    }
    encoders = {
        f"{record['encoder_digest'][:12]}"
        for s in statuses
        if s.config.trainer.weights == "from_pretrained"
        for record in s.trained
        if "encoder_digest" in record
    }
    pretrained = [s.config.trainer.pretraining() for s in statuses]
    recipes = [e.pretrain for e in pretrained if e is not None and e.pretrain is not None]
    return {
        "learner": _each(
            f"{t.name}, weights {t.weights}, settings {digest}" for digest, t in trainers.items()
        ),
        "settings come from": _each(
            s.config.protocol.settings_from for s in statuses if s.config.protocol.settings_from
        ),
        "encoder": [
            *_each(
                f"{p.name}, {'labels of the seed set' if p.reads_labels else 'no labels'}"
                for p in recipes
            ),
            *_each(
                f"learned from {s.config.pretrain_on.path}"
                for s in statuses
                if s.config.pretrain_on is not None
            ),
            *_each(
                f"weights of {start}, with whatever labels it was trained on"
                for s in statuses
                if (start := s.config.trainer.starting_file) is not None
            ),
            *(
                [f"weights {', '.join(sorted(encoders))}, checked before each round"]
                if 0 < len(encoders) <= _LISTED
                else []
            ),
        ],
        "training ends": [
            f"by its own rule in {sum(met):,} of {len(met):,} rounds"
            if met
            else "after a fixed length"
        ],
        "epochs": ["the last one is measured and scores the pool"],
        "training sees": _each(_views_of(s.config.trainer) for s in statuses),
        "pool scored by": _each(f"{s.config.scoring.transform} transform" for s in statuses),
    }


def _execution(statuses: Sequence[RunStatus]) -> dict[str, list[str]]:
    notes = [record.get("notes", {}) for s in statuses for record in s.trained]
    seeds = sorted({s.config.seed for s in statuses})
    unfinished = [f"{s.run} ({s.state})" for s in statuses if not s.has_ended]
    hardware = _each(note["hardware"] for note in notes if "hardware" in note)
    return {
        "seeds": [", ".join(map(str, seeds))],
        "ended by": _each(
            s.stopped if len(statuses) == 1 else s.stopped.partition(":")[0] for s in statuses
        ),
        "not finished": unfinished,
        "hardware": [*hardware, *(["it changed between runs or rounds"] if hardware[1:] else [])],
        "precision": _each(note["precision"] for note in notes if "precision" in note),
        "program": _each(f"al-orchestrator {version}" for s in statuses for version in s.programs),
        "torch": _each(note["torch"] for note in notes if "torch" in note),
        "started again": [_restarts(statuses)],
        "lost workers": [str(sum(s.lost_workers for s in statuses))],
    }


def _restarts(statuses: Sequence[RunStatus]) -> str:
    again = [s.starts - 1 for s in statuses if s.starts > 1]
    times = f"{sum(again):,} times" if sum(again) != 1 else "once"
    if not again:
        return "never"
    return times if len(statuses) == 1 else f"{times}, in {len(again):,} of {len(statuses):,} runs"


def _deviations(statuses: Sequence[RunStatus]) -> dict[str, list[str]]:
    marks = sorted({mark for s in statuses for mark in s.marks})
    warnings = sorted({each for s in statuses for each in warnings_of(s.config, s.validation)})
    warnings += _of_seeds(statuses)
    decided = [mark for mark in marks if "test set" in mark]
    return {
        "test set": decided
        or ["measured after the last epoch of a round; nothing was chosen by it"],
        "against the protocol": marks or ["nothing"],
        "to be known": warnings,
    }


def _of_seeds(statuses: Sequence[RunStatus]) -> list[str]:
    """What so few seeds mean for a comparison; nothing of a single run."""
    seeds = len({s.config.seed for s in statuses})
    if len(statuses) == 1 or seeds >= _ENOUGH_SEEDS:
        return []
    if seeds == 1:
        return ["one seed, so no interval and no p value exist"]
    return [f"{seeds} seeds, which are fewer than {_ENOUGH_SEEDS}"]


def _each(values: Iterable[str]) -> list[str]:
    """Every value once, in order; of many only how many there are."""
    found = sorted({value for value in values if value})
    return found if len(found) <= _LISTED else [f"{len(found)} different ones"]
