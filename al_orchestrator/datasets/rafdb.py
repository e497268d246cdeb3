"""RAF-DB, basic emotions: 15,339 faces from the web, labelled by forty people each.

Li, Deng & Du 2017, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression
Recognition in the Wild", CVPR. Read as it is distributed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from al_orchestrator.datasets.base import Record, Skipped, Split
from al_orchestrator.datasets.folders import file_state
from al_orchestrator.datasets.photos import Photos, names_below
from al_orchestrator.datasets.splitting import is_held_out
from al_orchestrator.errors import DatasetError
from al_orchestrator.files import digest_of_json

RAFDB_CLASSES = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""In the order of the file's labels 1 to 7."""

_LIST = Path("EmoLabel", "list_patition_label.txt")  # spelt so
_ALIGNED = Path("Image", "aligned")


class RAFDB(Photos):
    """`path` holds `EmoLabel/list_patition_label.txt` and `Image/aligned/`.

    The source has no val split: a share of the training images is one, drawn by name.
    """

    name: Literal["rafdb"] = "rafdb"
    val_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the training images that is the val split."""
    val_seed: int = Field(default=0, ge=0)
    """Draws it."""

    @property
    def classes(self) -> tuple[str, ...]:
        return RAFDB_CLASSES

    def source_state(self) -> Mapping[str, object]:
        images = [p.name for p in names_below(self.path / _ALIGNED, frozenset({".jpg"}))]
        listing = digest_of_json(images)
        return {**self.settings(), **file_state(self.path / _LIST), "listing": listing}

    def records(self) -> Iterator[Record | Skipped]:
        for number, line in enumerate(self._lines(), start=1):
            words = line.split()
            if len(words) != 2 or words[1] not in _BY_CODE:
                raise DatasetError(
                    f"{self.path / _LIST}, line {number}: {line.strip()!r} is no file name and a "
                    "label from 1 to 7"
                )
            name, label = Path(words[0]).stem, _BY_CODE[words[1]]
            file = self.path / _ALIGNED / f"{name}_aligned.jpg"
            yield self.read(file, id=name, split=self._split(name), label=label)

    def _lines(self) -> list[str]:
        try:
            text = (self.path / _LIST).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{self.path / _LIST} cannot be read: {error}") from error
        return [line for line in text.splitlines() if line.strip()]

    def _split(self, name: str) -> Split:
        if name.startswith("test_"):
            return "test"
        if not name.startswith("train_"):
            raise DatasetError(f"{self.path / _LIST}: {name} begins with neither train_ nor test_")
        return "val" if is_held_out(name, self.val_share, self.val_seed) else "train"


_BY_CODE = {str(code): name for code, name in enumerate(RAFDB_CLASSES, start=1)}
