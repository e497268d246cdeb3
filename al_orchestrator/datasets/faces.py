"""Faces drawn by code: as many as asked for, of any size, with nobody's picture in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped, Split
from al_orchestrator.datasets.counter_random import derive_key
from al_orchestrator.datasets.expressions import EXPRESSIONS, Variety, sample_faces

_BATCH = 64  # faces drawn at once: few enough that their arrays stay in the processor's cache
_DRAWING = 1  # raised when the same fields would draw other pixels

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class DrawnFaces(DatasetReader):
    """Drawn faces with seven expressions, some of them truly ambiguous.

    Face number i of a split is the same whatever the counts are, on every machine. The first seven
    of a split show each class once. Every split has persons of its own.
    """

    name: Literal["faces"] = "faces"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Another seed draws other faces."""
    image_size: Annotated[int, Field(ge=16, le=256)] = 48
    """Side of the square images, in pixels."""
    num_train: Annotated[Count, Field(ge=len(EXPRESSIONS))] = 2000
    """Images in the pool; at least one a class."""
    num_val: Count = 400
    """Images for validation; may be 0."""
    num_test: Annotated[Count, Field(ge=len(EXPRESSIONS))] = 1000
    """Images for the test; at least one a class."""
    identities: Annotated[int, Field(ge=1)] = 400
    """Persons in each split."""
    balanced: bool = False
    """Every class equally often, instead of the shares of FER2013 (disgust 1.5 %)."""
    ambiguous: Share = 0.2
    """Share of faces that blend two expressions and are labelled by one draw from the blend."""
    occluded: Share = 0.1
    """Share of faces with something in front of them."""
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    """Deviation of the pixel noise, as a share of the full range."""

    @property
    def classes(self) -> tuple[str, ...]:
        return EXPRESSIONS

    def source_state(self) -> Mapping[str, object]:
        return {"drawing": _DRAWING, **self.model_dump(mode="json", exclude={"duplicates"})}

    def records(self) -> Iterator[Record | Skipped]:
        counts = {"train": self.num_train, "val": self.num_val, "test": self.num_test}
        for split in get_args(Split):
            for start in range(0, counts[split], _BATCH):
                yield from self._draw(split, start, min(start + _BATCH, counts[split]))

    def _draw(self, split: Split, start: int, end: int) -> Iterator[Record]:
        from al_orchestrator.datasets.drawing import draw_faces

        key = derive_key("faces", self.seed, split)
        items = np.arange(start, end, dtype=np.int64)
        variety = Variety(
            identities=self.identities,
            ambiguous=self.ambiguous,
            occluded=self.occluded,
            is_balanced=self.balanced,
        )
        faces = sample_faces(key, items, variety)
        images = draw_faces(faces, self.image_size, noise=self.noise, key=key, items=items)
        for item, label, image in zip(items.tolist(), faces.labels, images, strict=True):
            yield Record(
                id=f"faces-{split}-{item:06d}",
                split=split,
                label=EXPRESSIONS[label],
                image=image[..., None],
            )
