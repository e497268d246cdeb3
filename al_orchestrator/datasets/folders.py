"""Walks image folders laid out as split / class / files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from al_orchestrator.datasets.base import Split
from al_orchestrator.errors import DatasetError
from al_orchestrator.files import digest_of_json

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

SPLIT_FOLDERS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
"""Accepted names of a split's folder, in lower case."""

_LITTER = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class ImageFile:
    """A file in a class folder."""

    path: Path
    id: str  # relative to the root, with "/" on every system: the source's own name
    split: Split
    folder: str  # name of the class folder


def find_splits(
    root: Path, names: Mapping[Split, tuple[str, ...]] = SPLIT_FOLDERS
) -> dict[Split, Path]:
    """The folder of each split that is there; upper and lower case count as equal.

    Raises:
        DatasetError: `root` is no folder, train or test is missing, or a split has two folders.
    """
    found: dict[Split, Path] = {}
    folders = _subfolders(root)
    for split, accepted in names.items():
        matches = [folder for folder in folders if folder.name.casefold() in accepted]
        if len(matches) > 1:
            both = " and ".join(folder.name for folder in matches)
            raise DatasetError(f"{root}: {both} are both the {split} split; keep one of them")
        if matches:
            found[split] = matches[0]
        elif split != "val":
            there = ", ".join(folder.name for folder in folders) or "no folder at all"
            raise DatasetError(
                f"{root} has no {split} split: it needs a folder named {' or '.join(accepted)}, "
                f"and holds {there}{_unlabelled(root)}"
            )
    return found


def _unlabelled(root: Path) -> str:
    if not any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in _entries(root)):
        return ""
    return "; images without labels are for `pretrain_on`, beside a dataset that has some"


def named_splits(root: Path, names: Mapping[Split, str]) -> dict[Split, Path]:
    """The folders of splits that are called so, relative to `root`.

    Raises:
        DatasetError: One is missing.
    """
    for split, name in names.items():
        if not (root / name).is_dir():
            raise DatasetError(f"{root / name}, named as the {split} split, is not a folder")
    return {split: root / name for split, name in names.items()}


def class_folders(split_folder: Path) -> list[Path]:
    """Class folders of a split, sorted by name.

    Raises:
        DatasetError: An image lies beside them, in no class.
    """
    strays = [
        entry.name
        for entry in _entries(split_folder)
        if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file() and not _is_litter(entry.name)
    ]
    if strays:
        raise DatasetError(
            f"{split_folder / strays[0]} lies in no class folder ({len(strays)} such images); "
            f"images belong in {split_folder.name}/<class>/, those without labels in a folder of "
            "`pretrain_on`"
        )
    return _subfolders(split_folder)


def walk(root: Path, splits: Mapping[Split, Path]) -> Iterator[ImageFile]:
    """Every file of every class folder, subfolders included, in a fixed order.

    Hidden files and what file managers leave behind are passed over; all else should be an image.

    Raises:
        DatasetError: A file's name is not valid UTF-8, so that it cannot be an id.
    """
    for split, split_folder in splits.items():
        for class_folder in class_folders(split_folder):
            for path in files_below(class_folder):
                name = path.relative_to(root).as_posix()
                yield ImageFile(path=path, id=_valid(name), split=split, folder=class_folder.name)


def folder_state(root: Path, splits: Mapping[Split, Path]) -> dict[str, object]:
    """Number of files, and a digest of their names, sizes and times; reads none of them."""
    listing = [(file.id, *_stamp(file.path)) for file in walk(root, splits)]
    return {"path": str(root.resolve()), "files": len(listing), "listing": digest_of_json(listing)}


def tree_state(root: Path) -> dict[str, object]:
    """The same of every file below a folder, whatever lies where."""
    files = [(_valid(path.relative_to(root).as_posix()), path) for path in files_below(root)]
    listing = [(name, *_stamp(path)) for name, path in files]
    return {"path": str(root.resolve()), "files": len(listing), "listing": digest_of_json(listing)}


def file_state(path: Path) -> dict[str, object]:
    """Path, size and time of one file.

    Raises:
        DatasetError: It is missing.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    return {"path": str(path.resolve()), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def files_below(root: Path) -> Iterator[Path]:
    """Every file below a folder in a fixed order, but what is hidden or left by file managers.

    Links to folders are followed.

    Raises:
        DatasetError: A folder cannot be read, or a link leads back to a folder it lies in.
    """
    for parent, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not _is_litter(name))
        for name in folders:
            _refuse_loop(Path(parent) / name)
        for name in sorted(files):
            if not _is_litter(name):
                yield Path(parent) / name


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # A link to nowhere: reading it will say so, with its name.
        return (-1, 0)
    return (stat.st_size, stat.st_mtime_ns)


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; `path` must name one that is there")
    return [e for e in _entries(folder) if e.is_dir() and not _is_litter(e.name)]


def _refuse(error: OSError) -> NoReturn:
    # Else what lies in the folder would be missing, and nobody would know.
    raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error


def _refuse_loop(folder: Path) -> None:
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{folder} is a link to a folder that it lies in; remove it")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        _refuse(error)


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _LITTER


def _valid(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(f"{name!a} is not valid UTF-8; rename the file") from error
    return name
