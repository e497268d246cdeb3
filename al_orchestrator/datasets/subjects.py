"""CK+ and KDEF: people in the laboratory, every one of them in one split only."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from al_orchestrator.datasets.base import Record, Skipped
from al_orchestrator.datasets.folders import IMAGE_SUFFIXES
from al_orchestrator.datasets.photos import Photos, names_below
from al_orchestrator.datasets.splitting import Shares, split_groups
from al_orchestrator.errors import DatasetError
from al_orchestrator.files import digest_of_json


@dataclass(frozen=True)
class Portrait:
    """What a file's name and place say."""

    file: Path
    subject: str
    label: str


class Subjects(Photos):
    """Photographs of known people.

    People are drawn into splits once for all classes: near-identical frames of one person in two
    splits would let a learner recognise the person (CK+ as some code splits it has that fault).
    """

    shares: Shares = (0.6, 0.2, 0.2)
    """Of the people, in train, val and test."""
    split_seed: int = Field(default=1, ge=0)
    """Draws them."""

    @field_validator("shares")
    @classmethod
    def _shares_are_shares(cls, shares: Shares) -> Shares:
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or not shares[0] or not shares[2]:
            raise ValueError(
                f"shares {shares} have to sum to 1, with something for train and for test"
            )
        return shares

    @abstractmethod
    def portraits(self) -> list[Portrait]:
        """Every photograph that is used."""

    def source_state(self) -> Mapping[str, object]:
        listing = digest_of_json(
            [
                [
                    str(p.file.relative_to(self.path)),
                    p.file.stat().st_size,
                    p.file.stat().st_mtime_ns,
                ]
                for p in self.portraits()
            ]
        )
        return {**self.settings(), "path": str(self.path.resolve()), "listing": listing}

    def records(self) -> Iterator[Record | Skipped]:
        portraits = self.portraits()
        splits = split_groups([p.subject for p in portraits], self.shares, self.split_seed)
        for portrait in portraits:
            name = portrait.file.relative_to(self.path).as_posix()
            split = splits[portrait.subject]
            yield self.read(portrait.file, id=name, split=split, label=portrait.label)


class CKPlus(Subjects):
    """Extended Cohn-Kanade: a folder for each emotion, files `<subject>_….png`.

    Lucey et al. 2010, "The Extended Cohn-Kanade Dataset (CK+)", CVPR workshops.
    """

    name: Literal["ckplus"] = "ckplus"
    image_size: Annotated[int, Field(ge=8, le=1024)] = 48
    """Side to which images are resized."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for colour."""
    class_names: tuple[str, ...] = (
        "anger",
        "contempt",
        "disgust",
        "fear",
        "happy",
        "sadness",
        "surprise",
    )
    """Folders in the order of their codes; what lies in others is an error."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.class_names

    def portraits(self) -> list[Portrait]:
        found = []
        for file in _images(self.path):
            folder, subject = file.relative_to(self.path).parts[0], file.name.partition("_")[0]
            if folder not in self.class_names:
                raise DatasetError(
                    f"{file} lies in none of the class folders {', '.join(self.class_names)}"
                )
            found.append(Portrait(file, subject, folder))
        return found


KDEF_CODES: Mapping[str, str] = {
    "AF": "afraid",
    "AN": "angry",
    "DI": "disgusted",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprised",
}
"""Expression codes in file names of KDEF, in the order of their classes."""

Angle = Literal["FL", "HL", "S", "HR", "FR"]

_KDEF_NAME = re.compile(r"([AB])([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)", re.IGNORECASE)


class KDEF(Subjects):
    """Karolinska Directed Emotional Faces: 70 people, 7 expressions, 5 angles, taken twice.

    Lundqvist, Flykt & Öhman 1998. What a picture shows is in its name: session A or B, F or M with
    a number for the person, expression, angle, as in `AF01ANS.JPG`.
    """

    name: Literal["kdef"] = "kdef"
    angles: tuple[Angle, ...] = ("FL", "HL", "S", "HR", "FR")
    """Full left, half left, straight, half right, full right; only these are read."""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(KDEF_CODES.values())

    def portraits(self) -> list[Portrait]:
        found = []
        for file in _images(self.path):
            match = _KDEF_NAME.fullmatch(file.stem)
            if match is None:
                raise DatasetError(
                    f"{file} is not named as KDEF names its pictures (AF01ANS.JPG); move it away"
                )
            _, person, expression, angle = (part.upper() for part in match.groups())
            if angle in self.angles:
                found.append(Portrait(file, person, KDEF_CODES[expression]))
        return found


def _images(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; `path` must name one that is there")
    found = [*names_below(root, IMAGE_SUFFIXES)]
    if not found:
        raise DatasetError(f"{root} holds no images")
    return found
