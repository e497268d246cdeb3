"""The checkpoints of several learners in one file.

A bundle is a checkpoint like any other: its weights are those of all members under ``<number>.``,
its meta data has ``members``, what each member's own checkpoint had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trainers.base import TrainingError
from trainers.deep import checkpoints
from trainers.files import digest_of_members


@dataclass(frozen=True, eq=False)
class Bundle:
    """Members of an ensemble, ready to be taken apart again."""

    path: Path
    weights: dict[str, Tensor]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.meta["members"])

    @property
    def num_classes(self) -> int:
        return int(self.meta["num_classes"])

    def extract(self, number: int, path: Path) -> None:
        """Writes the checkpoint of one member as that member wrote it."""
        start = f"{number}."
        ours = {name[len(start) :]: w for name, w in self.weights.items() if name.startswith(start)}
        checkpoints.save(path, {"weights": ours, "meta": self.meta["members"][number]})


def save_bundle(path: Path, members: Sequence[Path], seeds: Sequence[int], classes: int) -> str:
    """Puts the members' checkpoints into one file; returns its digest."""
    contents = [checkpoints.load(member) for member in members]
    weights: dict[str, Tensor] = {}
    metas = []
    for number, content in enumerate(contents):
        tensors, meta = content["weights"], content["meta"]
        assert isinstance(tensors, dict)  # a trainer of ours has just written it
        assert isinstance(meta, dict)
        weights |= {f"{number}.{name}": tensor for name, tensor in tensors.items()}
        metas.append(meta)
    digest = digest_of_members(str(meta["digest"]) for meta in metas)
    meta = {"members": metas, "seeds": list(seeds), "num_classes": classes, "digest": digest}
    checkpoints.save(path, {"weights": weights, "meta": meta})
    return digest


def load_bundle(path: Path, members: int) -> Bundle:
    """The bundle of so many members.

    Raises:
        TrainingError: It is another checkpoint, or has another number of members.
    """
    content = checkpoints.load(path)
    meta, weights = content.get("meta"), content.get("weights")
    if not isinstance(meta, dict) or not isinstance(weights, dict) or "members" not in meta:
        raise TrainingError(
            f"{path} is not a checkpoint of an ensemble; predict with the trainer that wrote it"
        )
    bundle = Bundle(path, weights, meta)
    if len(bundle) != members:
        raise TrainingError(
            f"{path} holds {len(bundle)} members, the trainer asks for {members}; leave "
            "trainer.members as it was"
        )
    return bundle
