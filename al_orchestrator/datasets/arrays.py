"""Images and labels that are arrays already: pairs of .npy files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped, Split
from al_orchestrator.datasets.folders import file_state
from al_orchestrator.datasets.image_folder import ClassNames
from al_orchestrator.errors import DatasetError

_SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Arrays(DatasetReader):
    """`path` holds `x_train.npy` and `y_train.npy`, the same of test, and perhaps of val.

    Images are uint8 (N, H, W) or (N, H, W, Ch); labels are integers (N,), -1 where unknown. An id
    is `<split>_<row>`.
    """

    name: Literal["arrays"] = "arrays"
    path: Path
    """The folder of the arrays."""
    class_names: ClassNames
    """Names of the codes 0, 1, …"""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.class_names

    def source_state(self) -> Mapping[str, object]:
        files = [self._file(kind, split) for split in self._splits() for kind in "xy"]
        return {"classes": list(self.class_names), "files": [file_state(file) for file in files]}

    def records(self) -> Iterator[Record | Skipped]:
        for split in self._splits():
            images, labels = self._pair(split)
            for row, (image, code) in enumerate(zip(images, labels.tolist(), strict=True)):
                if code >= len(self.class_names):
                    raise DatasetError(
                        f"{self._file('y', split)}, row {row}: label {code}, and there are "
                        f"{len(self.class_names)} classes"
                    )
                yield Record(
                    id=f"{split}_{row:07d}",
                    split=split,
                    label=self.class_names[code] if code >= 0 else None,
                    image=np.ascontiguousarray(image),
                )

    def _splits(self) -> list[Split]:
        return [s for s in _SPLITS if s != "val" or self._file("x", s).exists()]

    def _file(self, kind: str, split: Split) -> Path:
        return self.path / f"{kind}_{split}.npy"

    def _pair(self, split: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        images, labels = _array(self._file("x", split)), _array(self._file("y", split))
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise DatasetError(
                f"{self._file('x', split)} holds {images.dtype} {images.shape}; images are uint8 "
                "(N, H, W) or (N, H, W, 1 or 3)"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
            raise DatasetError(
                f"{self._file('y', split)} holds {labels.dtype} {labels.shape}; labels are "
                f"integers ({len(images)},)"
            )
        return images.view(np.uint8), labels.astype(np.int64)


def _array(file: Path) -> npt.NDArray[np.generic]:
    try:
        found: npt.NDArray[np.generic] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file} cannot be read as an array: {error}") from error
    return found
