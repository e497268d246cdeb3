"""Any folder of images laid out as train/, val/ and test/, with a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped, Split
from al_orchestrator.datasets.decoding import (
    Channels,
    Fit,
    OnBadImage,
    UnreadableImage,
    decode,
    refuse_or_skip,
)
from al_orchestrator.datasets.folders import (
    ImageFile,
    class_folders,
    find_splits,
    folder_state,
    named_splits,
    walk,
)
from al_orchestrator.datasets.splitting import is_held_out
from al_orchestrator.errors import DatasetError


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a class is named twice")
    return names


ClassNames = Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_each_once)]


def _below(name: str) -> str:
    parts = PurePosixPath(name)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"{name!r} is no folder below `path`")
    return name


def _train_and_test(folders: Mapping[Split, str]) -> Mapping[Split, str]:
    missing = [split for split in ("train", "test") if split not in folders]
    if missing:
        raise ValueError(f"`folders` names no folder for {' and '.join(missing)}")
    if len(set(folders.values())) < len(folders):
        raise ValueError("a folder is named twice, and a split may not be two")
    return folders


SplitFolders = Annotated[
    dict[Split, Annotated[str, AfterValidator(_below)]], AfterValidator(_train_and_test)
]


class ImageFolder(DatasetReader):
    """Images as split / class / file; val may also be called valid or validation, or be absent.

    An id is the file's path below the root. See `datasets.decoding` for how images are converted.

    Data sets of this kind: CAER-S (train/ and test/), and SFEW 2.0, whose test labels are not
    public, so that its validation set is the test split::

        {name: image_folder, path: sfew, image_size: 96, val_share: 0.1,
         folders: {train: Train/Train_Aligned_Faces, test: Val/Val_Aligned_Faces}}
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
    folders: SplitFolders | None = None
    """Folder of each split below `path`, where they are called otherwise or val is to be test."""
    val_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training images, drawn by name, that is the val split where there is none."""
    val_seed: int = Field(default=0, ge=0)
    """Draws it."""
    class_names: ClassNames | None = None
    """Class folders in the order of their codes; null takes those of train/, sorted by name."""
    on_bad_image: OnBadImage = "refuse"
    """What to do about a file that is no whole image: stop, or leave it out and count it."""

    @property
    def classes(self) -> tuple[str, ...]:
        splits = self._splits()
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
        return {**fields, **folder_state(self.path, self._splits())}

    def records(self) -> Iterator[Record | Skipped]:
        for file in walk(self.path, self._splits()):
            try:
                image = decode(
                    file.path, channels=self.channels, image_size=self.image_size, fit=self.fit
                )
            except UnreadableImage as error:
                yield refuse_or_skip(error, str(file.path), self.on_bad_image)
                continue
            yield Record(id=file.id, split=self._split(file), label=file.folder, image=image)

    def _splits(self) -> dict[Split, Path]:
        if self.folders is None:
            splits = find_splits(self.path)
        else:
            splits = named_splits(self.path, self.folders)
        if self.val_share and "val" in splits:
            raise DatasetError(
                f"{splits['val']} is the val split, and `val_share` would draw another from "
                "train; set it to 0, or name train and test alone in `folders`"
            )
        return splits

    def _split(self, file: ImageFile) -> Split:
        if file.split == "train" and is_held_out(file.id, self.val_share, self.val_seed):
            return "val"
        return file.split
