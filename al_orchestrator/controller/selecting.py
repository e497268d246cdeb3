"""What a selection leaves behind besides its batch: files beside the ledger, named in it.

What a strategy keeps for its next selection is handed back only while the embeddings are the same
map of images and the strategy is the same; without it the selection is equal and takes longer. So
the files may be lost at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from al_orchestrator.controller.rooms import Rooms
from al_orchestrator.files import digest_of_file, digest_of_json, is_intact, replacing
from strategies import Kept, QueryStrategy, Selection


class Leavings:
    """Writes and finds what selections leave."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def write(
        self, number: int, strategy: QueryStrategy, chosen: Selection, key: str | None
    ) -> dict[str, Any]:
        """Writes maps, and what is kept under the name `key`; returns what goes on record."""
        folder, record = self._rooms.run.selection(number), dict[str, Any]()
        if chosen.map_ids is not None:
            record["maps"] = self._save(folder / "maps.npz", chosen.map_ids, chosen.maps)
        if chosen.keep is not None and key is not None:
            file = self._save(folder / "kept.npz", chosen.keep.ids, chosen.keep.arrays)
            record["kept"] = {**file, "key": key, "strategy": _digest(strategy)}
        return record

    def kept(self, number: int, strategy: QueryStrategy, key: str | None) -> Kept | None:
        """What this strategy kept in round `number - 1`, if it still applies."""
        record = (self._rooms.pool.stage(number - 1, "select") or {}).get("kept")
        if record is None or key is None:
            return None
        path = self._rooms.run.folder / record["file"]
        applies = record["key"] == key and record["strategy"] == _digest(strategy)
        if not applies or not is_intact(path, record["digest"]):
            return None
        with np.load(path) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
        return Kept(ids=loaded.pop("ids"), arrays=loaded)

    def tidy(self, number: int) -> None:
        """Removes what a closed round kept for a round that has selected, too."""
        (self._rooms.run.selection(number) / "kept.npz").unlink(missing_ok=True)

    def _save(self, path: Path, ids: Any, arrays: Mapping[str, Any]) -> dict[str, str]:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, ids=ids, **arrays)
        return {"file": self._rooms.run.relative(path), "digest": digest_of_file(path)}


def _digest(strategy: QueryStrategy) -> str:
    return digest_of_json(strategy.model_dump(mode="json"))
