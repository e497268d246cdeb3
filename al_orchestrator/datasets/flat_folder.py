"""A folder of images without labels, for encoders that are learned without any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from al_orchestrator.datasets.base import Duplicates, Record, Skipped
from al_orchestrator.datasets.decoding import Fit, OnBadImage
from al_orchestrator.datasets.folders import files_below, tree_state
from al_orchestrator.datasets.photos import Photos
from al_orchestrator.errors import DatasetError


class FlatFolder(Photos):
    """Every image below `path`, in whatever folders; all are training images without a label.

    An id is the file's path below the root. Experiments do not run on it, see `Unlabelled`.
    """

    name: Literal["flat_folder"] = "flat_folder"

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    def source_state(self) -> Mapping[str, object]:
        if not self.path.is_dir():
            raise DatasetError(f"{self.path} is not a folder; `path` must name one that is there")
        return {**self.settings(), **tree_state(self.path)}

    def records(self) -> Iterator[Record | Skipped]:
        for file in files_below(self.path):
            name = file.relative_to(self.path).as_posix()
            yield self.read(file, id=name, split="train", label=None)


class Unlabelled(BaseModel):
    """Images without labels that an encoder is learned from, instead of those of the pool."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    path: Path
    """A folder; every image in it and below counts, class folders or none."""
    fit: Fit = "crop"
    """How an oblong image becomes square: `crop` takes its centre, `stretch` distorts it."""
    on_bad_image: OnBadImage = "refuse"
    """What to do about a file that is no whole image: stop, or leave it out and count it."""
    duplicates: Duplicates = Duplicates()
    """What to do about images with the very same pixels; `across_splits` is about those that stand
    in the experiment's val or test split."""

    def reader(self, image_shape: tuple[int, int, int]) -> FlatFolder:
        """Reads them as images of this shape (H, W, Ch), which is the experiment's.

        Raises:
            DatasetError: The shape is no square.
        """
        height, width, channels = image_shape
        if height != width:
            raise DatasetError(
                f"the dataset's images are {height}x{width}, and those of `pretrain_on` are made "
                "square; set dataset.image_size"
            )
        return FlatFolder(
            path=self.path,
            image_size=height,
            channels=1 if channels == 1 else 3,
            fit=self.fit,
            on_bad_image=self.on_bad_image,
        )
