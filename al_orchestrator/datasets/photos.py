"""What readers of photographs have in common: how images are converted, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped, Split
from al_orchestrator.datasets.decoding import (
    Box,
    Channels,
    Fit,
    OnBadImage,
    UnreadableImage,
    decode,
    refuse_or_skip,
)
from al_orchestrator.datasets.folders import files_below


class Photos(DatasetReader):
    """Fields of every dataset of image files."""

    path: Path
    """The folder the dataset was unpacked into."""
    image_size: Annotated[int, Field(ge=8, le=1024)] = 96
    """Side to which images are resized."""
    fit: Fit = "crop"
    """How an oblong image becomes square: `crop` takes its centre, `stretch` distorts it."""
    channels: Channels = 3
    """1 for grey, 3 for colour."""
    on_bad_image: OnBadImage = "refuse"
    """What to do about a file that is no whole image: stop, or leave it out and count it."""

    def read(
        self,
        file: Path,
        *,
        id: str,  # noqa: A002
        split: Split,
        label: str | None,
        box: Box | None = None,
    ) -> Record | Skipped:
        """One image, or what of it lies in `box`, with what is known of it."""
        size, fit = self.image_size, self.fit
        try:
            image = decode(file, channels=self.channels, image_size=size, fit=fit, box=box)
        except UnreadableImage as error:
            return refuse_or_skip(error, str(file), self.on_bad_image)
        return Record(id=id, split=split, label=label, image=image)

    def settings(self) -> dict[str, object]:
        """The fields that decide what is read, for `source_state`."""
        return self.model_dump(mode="json", exclude={"duplicates", "path"})


def names_below(root: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """Every file with such a suffix, hidden ones left out, in a fixed order.

    Raises:
        DatasetError: A folder cannot be read.
    """
    return (path for path in files_below(root) if path.suffix.lower() in suffixes)
