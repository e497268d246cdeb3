"""scikit-learn's handwritten digits: small real images that come with the installation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped, Split

_SIDE = 8
_NUM_CLASSES = 10
_BRIGHTEST = 16  # of the source's grey levels


class Digits(DatasetReader):
    """1,797 grey digits of 8 x 8 pixels.

    The source has no splits. In each class, the samples are put in the order of a hash of their id;
    the first go to test, the next to val, the rest to train. The split is the same for everyone.

    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """

    name: Literal["digits"] = "digits"
    image_size: Annotated[int, Field(ge=_SIDE, le=256)] = _SIDE
    """Side of the images; above 8, they are enlarged."""
    test_share: Annotated[float, Field(gt=0, le=0.4)] = 0.25
    """Share of each class in the test split."""
    val_share: Annotated[float, Field(ge=0, le=0.4)] = 0.1
    """Share of each class in the val split; may be 0."""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(code) for code in range(_NUM_CLASSES))

    def source_state(self) -> Mapping[str, object]:
        fields = self.model_dump(mode="json", exclude={"duplicates"})
        return {"scikit-learn": version("scikit-learn"), **fields}

    def records(self) -> Iterator[Record | Skipped]:
        from sklearn.datasets import load_digits

        source = load_digits()
        labels = source.target.astype(np.int64)
        ids = [f"digits-{number:04d}" for number in range(len(labels))]
        splits = split_by_hash(ids, labels, test_share=self.test_share, val_share=self.val_share)
        for name, split, label, levels in zip(ids, splits, labels, source.images, strict=True):
            image = np.rint(levels * (255 / _BRIGHTEST)).astype(np.uint8)
            yield Record(id=name, split=split, label=str(label), image=self._enlarged(image))

    def _enlarged(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        from PIL import Image

        from al_orchestrator.datasets.decoding import resize

        if self.image_size == _SIDE:
            return image[..., None]
        larger = resize(Image.fromarray(image), self.image_size, "stretch")
        return np.array(larger, dtype=np.uint8)[..., None]


def split_by_hash(
    ids: list[str], labels: npt.NDArray[np.int64], *, test_share: float, val_share: float
) -> list[Split]:
    """A split for each id, stratified by label, that depends on the ids and shares alone.

    Shares are of each class, rounded to the nearest number of samples.
    """
    ranks = [hashlib.sha256(name.encode()).digest() for name in ids]
    splits: list[Split] = ["train"] * len(ids)
    for label in np.unique(labels):
        rows = sorted(np.flatnonzero(labels == label).tolist(), key=lambda row: ranks[row])
        num_test, num_val = round(test_share * len(rows)), round(val_share * len(rows))
        for row in rows[:num_test]:
            splits[row] = "test"
        for row in rows[num_test : num_test + num_val]:
            splits[row] = "val"
    return splits
