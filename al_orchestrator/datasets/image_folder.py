"""Any folder of images laid out as train/, val/ and test/, with a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped
from al_orchestrator.datasets.decoding import (
    Channels,
    Fit,
    OnBadImage,
    UnreadableImage,
    decode,
    refuse_or_skip,
)
from al_orchestrator.datasets.folders import class_folders, find_splits, folder_state, walk
from al_orchestrator.errors import DatasetError


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a class is named twice")
    return names


ClassNames = Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_each_once)]


class ImageFolder(DatasetReader):
    """Images as split / class / file; val may also be called valid or validation, or be absent.

    An id is the file's path below the root. See `datasets.decoding` for how images are converted.
    """

    name: Literal["image_folder"] = "image_folder"
    path: Path
    """The folder that holds train/ and test/."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side to which images are resized; null keeps them, and they must then have one shape."""
    fit: Fit = "crop"
    """How an oblong image becomes square: `crop` takes its centre, `stretch` distorts it."""
    channels: Channels = 3
    """1 for grey, 3 for colour."""
    class_names: ClassNames | None = None
    """Class folders in the order of their codes; null takes those of train/, sorted by name."""
    on_bad_image: OnBadImage = "refuse"
    """What to do about a file that is no whole image: stop, or leave it out and count it."""

    @property
    def classes(self) -> tuple[str, ...]:
        splits = find_splits(self.path)
        train = [folder.name for folder in class_folders(splits["train"])]
        known = self.class_names if self.class_names is not None else tuple(sorted(train))
        for split, folder in splits.items():
            unknown = [found.name for found in class_folders(folder) if found.name not in known]
            if unknown:
                where = "train/" if self.class_names is None else "`class_names`"
                raise DatasetError(
                    f"{folder}: class {unknown[0]!r} of {split} is not in {where}, "
                    f"which has {', '.join(known) or 'none'}"
                )
        if len(known) < 2:
            raise DatasetError(f"{self.path} has {len(known)} class; it takes two to learn from")
        return known

    def source_state(self) -> Mapping[str, object]:
        fields = self.model_dump(mode="json", exclude={"duplicates", "path"})
        return {**fields, **folder_state(self.path, find_splits(self.path))}

    def records(self) -> Iterator[Record | Skipped]:
        for file in walk(self.path, find_splits(self.path)):
            try:
                image = decode(
                    file.path, channels=self.channels, image_size=self.image_size, fit=self.fit
                )
            except UnreadableImage as error:
                yield refuse_or_skip(error, str(file.path), self.on_bad_image)
                continue
            yield Record(id=file.id, split=file.split, label=file.folder, image=image)
