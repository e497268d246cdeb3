"""What the mirror is told of a run, as messages committed with what they tell of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.encoder_store import StoredEncoder
from al_orchestrator.pool import Entry
from al_orchestrator.rounds import Round
from al_orchestrator.run_dir import RunDir


def introduction(rooms: Rooms, of_seed_set: Mapping[str, object]) -> dict[str, Any]:
    """What a run is; `of_seed_set` is what its seed set had to note."""
    config, manifest = rooms.config, rooms.data.manifest
    looked_at = of_seed_set.get("labels_looked_at")
    flat = _flatten(config.model_dump(mode="json"))
    sets = {
        "pool": rooms.splits.pool,
        "validation": rooms.splits.validation,
        "test": rooms.splits.test,
    }
    return {
        "params": flat,
        "tags": {
            "alo.strategy": config.strategy.name,
            "alo.trainer": config.trainer.name,
            "alo.dataset": config.dataset.name,
            "alo.seed": str(config.seed),
            "alo.dataset_fingerprint": manifest.fingerprint,
            "alo.seed_set": config.seed_set.name,
            **({} if looked_at is None else {"alo.labels_looked_at": str(looked_at)}),
        },
        "datasets": [
            {
                "name": f"{config.dataset.name}-{context}",
                "digest": manifest.fingerprint[:32],
                "context": context,
                "rows": len(ids),
            }
            for context, ids in sets.items()
            if len(ids)
        ],
    }


def tell_encoder(entry: Entry, stored: StoredEncoder) -> None:
    """The pretraining a run starts from, with its curve."""
    recipe = stored.recipe
    created = datetime.fromisoformat(stored.created)
    payload = {
        "key": stored.key,
        "name": f"{recipe.method['name']}-{recipe.encoder['name']}-{stored.key[:8]}",
        "created_ms": round(created.timestamp() * 1000),
        "params": _flatten(
            {
                "encoder": recipe.encoder,
                "pretrain": recipe.method,
                "seed": recipe.seed,
                "images": stored.images,
                "labels": stored.labels,
            }
        ),
        "tags": {"alo.encoder_digest": stored.digest, **stored.notes},
        "history": [
            {name: value for name, value in record.items() if name != "total_epochs"}
            for record in stored.history()
        ],
    }
    entry.tell("encoder", payload)


def tell_metrics(
    entry: Entry, current: Round, metrics: Mapping[str, float], seconds: float
) -> None:
    """What a round measured once it was trained, and how long that took."""
    counted = {
        "time/train_s": seconds,
        "round": float(current.number),
        "label/labelled": float(current.labelled),
    }
    entry.tell("metrics", {"step": current.labelled, "metrics": {**metrics, **counted}})


def tell_round(rooms: Rooms, entry: Entry, current: Round) -> None:
    """Timings, class counts of the batch, and the artifacts of a round that closes."""
    # Training told its own time: a last round that goes on after all closes twice.
    times = {
        f"time/{stage}_s": seconds
        for stage, seconds in current.seconds.items()
        if stage in {"score", "select"}
    }
    classes = rooms.data.manifest.classes
    labels = [sample.label for sample in rooms.pool.acquired(current.number + 1)]
    batch = {f"label/batch/{name}": float(labels.count(c)) for c, name in enumerate(classes)}
    entry.tell(
        "metrics", {"step": current.labelled, "metrics": {**times, **(batch if labels else {})}}
    )
    report = rooms.run.relative(rooms.run.report(current.number))
    folder = {"folder": report, "to": f"round-{current.number:03d}", "round": current.number}
    entry.tell("artifacts", folder)


def tell_end(rooms: Rooms, entry: Entry, why: str | None) -> None:
    """Why the run ended, or that it goes on after all: as a tag, and on the protocol card."""
    tags = {"alo.stopped": "not yet" if why is None else why}
    entry.tell("run", {"params": {}, "tags": tags, "datasets": []})
    tell_card(rooms.run, entry)


def tell_card(run: RunDir, entry: Entry) -> None:
    """The protocol card, as the run stands when the message is sent."""
    entry.tell("artifacts", {"folder": run.relative(run.protocol), "to": "protocol"})


def _flatten(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        return {
            leaf: text
            for key, below in value.items()
            for leaf, text in _flatten(below, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: "" if value is None else str(value)}
