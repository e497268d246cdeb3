"""Readers of sources, each into a manifest and a packed image file.

`AnyDataset` is the one line to add for a new source.
"""

from typing import Annotated

from pydantic import Field

from al_orchestrator.datasets.affectnet import AffectNet
from al_orchestrator.datasets.arrays import Arrays
from al_orchestrator.datasets.base import (
    DatasetReader,
    Duplicates,
    Manifest,
    PackedDataset,
    Record,
    Skipped,
)
from al_orchestrator.datasets.check import DatasetSummary, describe
from al_orchestrator.datasets.digits import Digits
from al_orchestrator.datasets.duplicates import DuplicateReport, find_duplicates, pool_ids
from al_orchestrator.datasets.faces import DrawnFaces
from al_orchestrator.datasets.fer2013 import FER2013
from al_orchestrator.datasets.flat_folder import Unlabelled
from al_orchestrator.datasets.image_folder import ImageFolder
from al_orchestrator.datasets.pack import load, pack, verify
from al_orchestrator.datasets.rafdb import RAFDB
from al_orchestrator.datasets.subjects import KDEF, CKPlus

AnyDataset = Annotated[
    DrawnFaces | Digits | FER2013 | RAFDB | AffectNet | CKPlus | KDEF | ImageFolder | Arrays,
    Field(discriminator="name"),
]

__all__ = [
    "FER2013",
    "KDEF",
    "RAFDB",
    "AffectNet",
    "AnyDataset",
    "Arrays",
    "CKPlus",
    "DatasetReader",
    "DatasetSummary",
    "Digits",
    "DrawnFaces",
    "DuplicateReport",
    "Duplicates",
    "ImageFolder",
    "Manifest",
    "PackedDataset",
    "Record",
    "Skipped",
    "Unlabelled",
    "describe",
    "find_duplicates",
    "load",
    "pack",
    "pool_ids",
    "verify",
]
