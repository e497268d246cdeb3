"""RAF-DB, CK+, KDEF, FER+ votes and arrays, laid out as their publishers do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from al_orchestrator.datasets import FER2013, KDEF, RAFDB, Arrays, CKPlus, Record, Skipped
from al_orchestrator.datasets.ferplus import (
    FERPLUS_CLASSES,
    NoMajority,
    expression_votes,
    majority,
)
from al_orchestrator.datasets.rafdb import RAFDB_CLASSES
from al_orchestrator.datasets.splitting import is_held_out, split_groups
from al_orchestrator.errors import DatasetError

Tree = Callable[[dict[str, int]], Path]
FER_DATA = Path(__file__).parents[4] / "shared" / "data" / "fer2013.parquet"


def records_of(reader: Any) -> list[Record]:
    return [item for item in reader.records() if isinstance(item, Record)]


def raf(picture_tree: Tree, labels: dict[str, str]) -> Path:
    root = picture_tree({f"Image/aligned/{name}_aligned.jpg": 9 for name in labels})
    (root / "EmoLabel").mkdir(exist_ok=True)
    lines = "".join(f"{name}.jpg {label}\n" for name, label in labels.items())
    (root / "EmoLabel" / "list_patition_label.txt").write_text(lines)
    return root


def test_rafdb_counts_its_labels_from_one_in_an_order_of_its_own(picture_tree: Tree) -> None:
    labels = {f"train_{n:05}": str(n) for n in range(1, 8)} | {"test_0001": "4"}
    found = records_of(RAFDB(path=raf(picture_tree, labels), val_share=0.0))
    assert RAFDB_CLASSES[3] == "happy"
    assert {r.id: r.label for r in found if r.split == "train"} == {
        f"train_{n:05}": RAFDB_CLASSES[n - 1] for n in range(1, 8)
    }
    assert [(r.id, r.label) for r in found if r.split == "test"] == [("test_0001", "happy")]
    assert {r.image.shape for r in found} == {(96, 96, 3)}


def test_rafdbs_val_split_moves_no_image_when_others_come(picture_tree: Tree) -> None:
    labels = {f"train_{n:05}": "1" for n in range(200)}
    before = {r.id: r.split for r in records_of(RAFDB(path=raf(picture_tree, labels)))}
    held_out = sum(split == "val" for split in before.values())
    assert 8 <= held_out <= 35  # a tenth of 200, by chance
    more = labels | {f"train_{n:05}": "2" for n in range(200, 230)}
    after = {r.id: r.split for r in records_of(RAFDB(path=raf(picture_tree, more)))}
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("line", "words"),
    [("train_1.jpg 8", "label from 1 to 7"), ("x_1.jpg 1", "neither train_ nor test_")],
)
def test_a_line_that_makes_no_sense_is_refused(picture_tree: Tree, line: str, words: str) -> None:
    root = raf(picture_tree, {"train_00001": "1"})
    (root / "EmoLabel" / "list_patition_label.txt").write_text(line + "\n")
    with pytest.raises(DatasetError, match=words):
        list(RAFDB(path=root).records())


def test_a_missing_list_or_image_is_an_error(tmp_path: Path, picture_tree: Tree) -> None:
    with pytest.raises(DatasetError, match="list_patition_label"):
        list(RAFDB(path=tmp_path).records())
    root = raf(picture_tree, {"train_00001": "1"})
    (root / "Image" / "aligned" / "train_00001_aligned.jpg").unlink()
    with pytest.raises(DatasetError, match="train_00001_aligned"):
        list(RAFDB(path=root).records())
    [left_out] = RAFDB(path=root, on_bad_image="skip").records()
    assert isinstance(left_out, Skipped)


def test_a_person_of_ckplus_is_in_one_split_for_all_emotions(picture_tree: Tree) -> None:
    emotions = CKPlus(path=Path()).class_names
    people = [f"S{n:03}" for n in range(20)]
    levels = {f"{e}/{p}_00{n}.png": 1 for e in emotions for p in people for n in (1, 2, 3)}
    splits = defaultdict(set)
    for record in records_of(CKPlus(path=picture_tree(levels))):
        splits[record.id.split("/")[1].split("_")[0]].add(record.split)
    assert {len(found) for found in splits.values()} == {1}
    counts = [sum(found == {split} for found in splits.values()) for split in ("val", "test")]
    assert counts == [4, 4]


def test_a_folder_that_is_no_emotion_is_refused(picture_tree: Tree) -> None:
    with pytest.raises(DatasetError, match="none of the class folders"):
        list(CKPlus(path=picture_tree({"joy/S001_1.png": 1})).records())


def test_kdef_is_read_by_its_file_names(picture_tree: Tree) -> None:
    root = picture_tree(
        {
            "AF01/AF01AFS.JPG": 1,
            "AF01/BF01SUHL.JPG": 2,
            "AM02/am02disfr.jpg": 3,
            "AM03/AM03NES.JPG": 4,
        }
    )
    with pytest.raises(DatasetError, match="not named as KDEF names"):
        list(KDEF(path=root).records())
    (root / "AM02" / "am02disfr.jpg").rename(root / "AM02" / "am02difr.jpg")
    found = {r.id: r.label for r in records_of(KDEF(path=root))}
    assert found == {
        "AF01/AF01AFS.JPG": "afraid",
        "AF01/BF01SUHL.JPG": "surprised",
        "AM02/am02difr.jpg": "disgusted",
        "AM03/AM03NES.JPG": "neutral",
    }
    straight = records_of(KDEF(path=root, angles=("S",)))
    assert [r.id for r in straight] == ["AF01/AF01AFS.JPG", "AM03/AM03NES.JPG"]
    by_id = {r.id: r.split for r in records_of(KDEF(path=root))}
    assert by_id["AF01/AF01AFS.JPG"] == by_id["AF01/BF01SUHL.JPG"]  # one person


def test_groups_are_cut_into_shares_and_stay_where_they_are() -> None:
    groups = [f"p{n}" for n in range(50)]
    found = split_groups(groups, (0.6, 0.2, 0.2), seed=1)
    assert [list(found.values()).count(s) for s in ("train", "val", "test")] == [30, 10, 10]
    assert found == split_groups(reversed(groups), (0.6, 0.2, 0.2), seed=1)  # type: ignore[arg-type]
    assert found != split_groups(groups, (0.6, 0.2, 0.2), seed=2)
    assert list(split_groups(["a", "b", "c"], (0.9, 0.0, 0.1), 0).values()).count("test") == 1
    share = sum(is_held_out(str(n), 0.3, 0) for n in range(5000)) / 5000
    assert share == pytest.approx(0.3, abs=0.03)
    with pytest.raises(ValidationError, match="have to sum to 1"):
        KDEF(path=Path(), shares=(0.5, 0.2, 0.2))


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([6, 0, 0, 4, 0, 0, 0, 0, 0, 0], "neutral"),
        ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], NoMajority),
        ([5, 1, 1, 3, 0, 0, 0, 0, 0, 0], "neutral"),  # single votes do not count: 5 of 8
        ([4, 0, 0, 4, 2, 0, 0, 0, 0, 0], NoMajority),
        ([0, 0, 0, 0, 0, 0, 0, 9, 1, 0], "contempt"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 8, 2], NoMajority),
        ([2, 0, 0, 0, 0, 0, 0, 0, 0, 8], NoMajority),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], NoMajority),
    ],
)
def test_more_than_half_of_the_votes_make_a_label(votes: list[int], expected: Any) -> None:
    if isinstance(expected, str):
        assert majority(votes) == expected
    else:
        with pytest.raises(NoMajority, match=r"FER\+ votes"):
            majority(votes)


def test_votes_that_training_aims_at_are_those_for_expressions() -> None:
    assert expression_votes([6, 1, 2, 0, 0, 0, 0, 0, 1, 0]) == (6, 0, 2, 0, 0, 0, 0, 0)


def test_votes_beside_the_csv_are_its_labels(tmp_path: Path) -> None:
    pixels = " ".join(["7"] * 48 * 48)
    rows = [f"3,{pixels},Training", f"3,{pixels},PrivateTest", f"3,{pixels},PublicTest"]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    names = ",".join([*FERPLUS_CLASSES, "unknown", "NF"])
    votes = ["Training,a,0,9,1,0,0,0,0,0,0,0", "PrivateTest,b,0,0,0,0,0,0,0,0,0,10"]
    (tmp_path / "fer2013new.csv").write_text("\n".join([f"Usage,Image name,{names}", *votes]))
    reader = FER2013(
        path=tmp_path / "fer2013.csv", labels="ferplus", votes=tmp_path / "fer2013new.csv"
    )
    assert reader.classes == FERPLUS_CLASSES
    soft = next(iter(reader.model_copy(update={"labels": "ferplus_votes"}).records()))
    assert isinstance(soft, Record)
    assert (soft.label, soft.votes) == ("happiness", (0, 9, 0, 0, 0, 0, 0, 0))
    made = reader.records()
    first, second = next(made), next(made)
    assert isinstance(first, Record)
    assert first.label == "happiness"
    assert first.votes is None
    assert isinstance(second, Skipped)
    assert second.reason == "FER+ votes for not a face"
    with pytest.raises(DatasetError, match="has 2 rows"):
        next(made)
    with pytest.raises(DatasetError, match=r"set dataset\.votes"):
        next(iter(FER2013(path=tmp_path / "fer2013.csv", labels="ferplus").records()))


@pytest.mark.skipif(not FER_DATA.exists(), reason="the data is not here")
def test_ferplus_keeps_what_has_a_majority() -> None:
    kept: dict[str, int] = defaultdict(int)
    left_out: dict[str, int] = defaultdict(int)
    for item in FER2013(path=FER_DATA, labels="ferplus").records():
        if isinstance(item, Record):
            kept[item.split] += 1
        else:
            left_out[item.reason] += 1
    assert kept == {"train": 25_060, "val": 3_199, "test": 3_153}
    assert sum(left_out.values()) == 4_475
    assert set(left_out) == {
        "FER+ votes without a majority",
        "FER+ votes for unknown expression",
        "FER+ votes for not a face",
    }


def test_arrays_are_checked(tmp_path: Path) -> None:
    reader = Arrays(path=tmp_path, class_names=("cat", "dog"))
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
    for split in ("train", "test"):
        np.save(tmp_path / f"x_{split}.npy", images)
        np.save(tmp_path / f"y_{split}.npy", np.array([0, 1, -1, 1]))
    found = records_of(reader)
    assert [r.label for r in found if r.split == "train"] == ["cat", "dog", None, "dog"]
    assert found[0].image.shape == (8, 8, 1)
    np.save(tmp_path / "y_test.npy", np.array([0, 1, 2, 1]))
    with pytest.raises(DatasetError, match="row 2: label 2, and there are 2 classes"):
        list(reader.records())
    np.save(tmp_path / "y_test.npy", np.array([0.0, 1.0, 1.0, 1.0]))
    with pytest.raises(DatasetError, match="labels are integers"):
        list(reader.records())
    np.save(tmp_path / "x_train.npy", images.astype(np.float32))
    with pytest.raises(DatasetError, match="images are uint8"):
        list(reader.records())
    np.save(tmp_path / "x_train.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DatasetError, match="cannot be read as an array"):
        list(reader.records())
