"""Packing: once, whole, and in the same folder for the same data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from pydantic import PrivateAttr

from al_orchestrator.datasets.base import DatasetReader, Record, Skipped
from al_orchestrator.datasets.faces import DrawnFaces
from al_orchestrator.datasets.manifest import hash_image
from al_orchestrator.datasets.pack import load, pack, verify
from al_orchestrator.errors import DatasetError


class Listed(DatasetReader):
    """A source that is a list; counts how often it is read."""

    name: Literal["listed"] = "listed"
    version: int = 0
    _items: list[Record | Skipped] = PrivateAttr(default_factory=list)
    _reads: int = PrivateAttr(default=0)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("no", "yes")

    def source_state(self) -> Mapping[str, object]:
        return {"version": self.version}

    def records(self) -> Iterator[Record | Skipped]:
        self._reads += 1
        yield from self._items


def listed(*items: Record | Skipped, version: int = 0) -> Listed:
    reader = Listed(version=version)
    reader._items.extend(items)
    return reader


def sample(
    name: str,
    split: Literal["train", "val", "test"] = "train",
    label: str | None = "no",
    level: int = 0,
    shape: tuple[int, ...] = (2, 3, 1),
) -> Record:
    return Record(name, split, label, np.full(shape, level, dtype=np.uint8))


def voted(name: str, votes: tuple[int, ...]) -> Record:
    return replace(sample(name), votes=votes)


ITEMS = [
    sample("d", "train", "yes", 40),
    sample("a", "test", "no", 10),
    sample("c", "train", "no", 30),
    sample("b", "val", "yes", 20),
]


def test_rows_of_images_and_manifest_agree_in_order_of_id(tmp_path: Path) -> None:
    packed = pack(listed(*ITEMS), tmp_path)

    images = np.load(packed.images, mmap_mode="r")
    assert packed.manifest.ids.tolist() == ["a", "b", "c", "d"]
    assert images[:, 0, 0, 0].tolist() == [10, 20, 30, 40]
    assert [hash_image(image) for image in images] == packed.manifest.image_hashes.tolist()
    assert packed.folder == tmp_path / "datasets" / packed.manifest.fingerprint
    assert packed.manifest.mean == pytest.approx((35 / 255,))
    assert packed.manifest.std == pytest.approx((5 / 255,))
    verify(packed)


def test_a_source_is_read_once_and_again_only_when_it_changed(tmp_path: Path) -> None:
    reader = listed(*ITEMS)
    first = pack(reader, tmp_path)
    second = pack(reader, tmp_path)

    assert second.folder == first.folder
    assert reader._reads == 1
    changed = listed(*ITEMS, version=1)
    assert pack(changed, tmp_path).folder == first.folder
    assert changed._reads == 1


def test_two_sources_of_the_same_data_keep_their_own_count_of_skips(tmp_path: Path) -> None:
    clean = listed(*ITEMS)
    dirty = listed(*ITEMS, Skipped("x.png", "empty file"), version=1)

    for _ in range(2):
        assert pack(clean, tmp_path).manifest.skipped == {}
        assert pack(dirty, tmp_path).manifest.skipped == {"empty file": 1}


def test_packed_files_cannot_be_written(tmp_path: Path) -> None:
    packed = pack(listed(*ITEMS), tmp_path)

    assert {path.stat().st_mode & 0o222 for path in packed.folder.iterdir()} == {0}
    assert {path.name for path in packed.folder.iterdir()} == {
        "images.npy",
        "manifest.parquet",
        "dataset.json",
    }


def test_progress_ends_with_the_number_of_samples(tmp_path: Path) -> None:
    told: list[int] = []
    faces = DrawnFaces(image_size=16, num_train=600, num_val=0, num_test=7)

    pack(faces, tmp_path, progress=told.append)

    assert told == [256, 512, 607]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([*ITEMS, sample("a", level=1)], "id 'a' occurs twice"),
        ([*ITEMS, sample("")], "id '' occurs twice or is empty"),
        ([*ITEMS, sample("e", label="maybe")], "e: class 'maybe' is none of no, yes"),
        ([*ITEMS, sample("e", "dev")], "e: split 'dev' is none of train, val, test"),  # type: ignore[arg-type]
        ([*ITEMS, sample("e", shape=(3, 2, 1))], r"e is \(3, 2, 1\), .* \(2, 3, 1\)"),
        ([*ITEMS, sample("e", shape=(2, 3))], r"e: the image is uint8 \(2, 3\)"),
        ([*ITEMS, sample("e", shape=(2, 3, 4))], r"e: the image is uint8 \(2, 3, 4\)"),
        ([ITEMS[1]], "split 'train' has no usable image"),
        ([ITEMS[0], ITEMS[2]], "split 'test' has no usable image"),
        (ITEMS[:2], "classes without a training image: no;"),
        ([*ITEMS, voted("e", (3, 7))], "e: some samples have votes and others have none"),
        ([voted("e", (3, 7)), *ITEMS], "d: some samples have votes and others have none"),
        ([voted("e", (3, 7, 0))], r"e: votes \[3, 7, 0\] are not 2 counts"),
        ([voted("e", (-1, 7))], r"e: votes \[-1, 7\] are not 2 counts"),
        ([voted("e", (0, 0))], "at least one vote"),
    ],
)
def test_a_source_that_breaks_the_contract_leaves_nothing_behind(
    tmp_path: Path, items: list[Record], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        pack(listed(*items), tmp_path)

    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["sources"]
    assert list((tmp_path / "datasets" / "sources").glob("*.json")) == []


def test_a_pool_with_unknown_labels_is_packed(tmp_path: Path) -> None:
    unknown = [sample(f"u{number}", label=None, level=number) for number in range(3)]

    manifest = pack(listed(*unknown, ITEMS[1]), tmp_path).manifest

    assert manifest.labels.tolist() == [0, -1, -1, -1]


def test_a_source_that_changes_under_the_reader_is_refused(tmp_path: Path) -> None:
    class Restless(Listed):
        def source_state(self) -> Mapping[str, object]:
            return {"reads": self._reads}

    reader = Restless()
    reader._items.extend(ITEMS)

    with pytest.raises(DatasetError, match="changed while it was read"):
        pack(reader, tmp_path)


@pytest.mark.parametrize("file", ["images.npy", "manifest.parquet", "dataset.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_copy_is_seen_and_packed_anew(tmp_path: Path, file: str, damage: str) -> None:
    reader = listed(*ITEMS)
    packed = pack(reader, tmp_path)
    path = packed.folder / file
    path.chmod(0o644)
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()

    with pytest.raises(DatasetError, match=str(packed.folder)):
        load(packed.folder)
    again = pack(reader, tmp_path)

    assert reader._reads == 2
    verify(load(again.folder))


def test_an_image_file_of_another_dataset_is_refused(tmp_path: Path) -> None:
    packed = pack(listed(*ITEMS), tmp_path)
    packed.images.unlink()
    np.save(packed.images, np.zeros((3, 2, 3, 1), dtype=np.uint8))

    with pytest.raises(DatasetError, match=r"holds uint8 \(3, 2, 3, 1\), .* uint8 \(4, 2, 3, 1\)"):
        load(packed.folder)


def test_a_changed_pixel_is_found_by_verifying(tmp_path: Path) -> None:
    packed = pack(listed(*ITEMS), tmp_path)
    packed.images.chmod(0o644)
    images = np.load(packed.images, mmap_mode="r+")
    images[2, 0, 0, 0] += 1
    images.flush()

    with pytest.raises(DatasetError, match="1 images changed after packing, first c;"):
        verify(load(packed.folder))


PACK_FACES = """
import os, signal, sys
from pathlib import Path
from al_orchestrator.datasets.faces import DrawnFaces
from al_orchestrator.datasets.pack import pack

def tell(number):
    if number >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

faces = DrawnFaces(image_size=16, num_train=900, num_val=0, num_test=7)
print(pack(faces, Path(sys.argv[1]), progress=tell).folder.name)
"""


def start(workspace: Path, kill_at: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PACK_FACES, str(workspace), str(kill_at)]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_nothing_that_counts(tmp_path: Path) -> None:
    killed = start(tmp_path, 512)
    assert killed.communicate()[0] == ""
    assert killed.returncode == -signal.SIGKILL
    datasets = tmp_path / "datasets"
    (left,) = datasets.glob(".packing-*")
    (left / "half-written").touch()

    faces = DrawnFaces(image_size=16, num_train=900, num_val=0, num_test=7)
    packed = pack(faces, tmp_path)

    verify(load(packed.folder))
    assert len(packed.manifest) == 907
    assert {path.name for path in datasets.iterdir()} == {"sources", packed.folder.name}
    assert not (packed.folder / "half-written").exists()


def test_two_processes_pack_the_same_source_into_one_folder(tmp_path: Path) -> None:
    both = [start(tmp_path, 10**9) for _ in range(2)]
    names = {process.communicate()[0].strip() for process in both}

    assert [process.returncode for process in both] == [0, 0]
    (name,) = names
    verify(load(tmp_path / "datasets" / name))
    assert {path.name for path in (tmp_path / "datasets").iterdir()} == {"sources", name}
