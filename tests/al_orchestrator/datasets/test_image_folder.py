"""Folders of images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from al_orchestrator.datasets.base import Record, Skipped
from al_orchestrator.datasets.folders import files_below
from al_orchestrator.datasets.image_folder import ImageFolder
from al_orchestrator.datasets.pack import pack
from al_orchestrator.errors import DatasetError

Tree = Callable[[dict[str, int]], Path]

WHOLE = {
    "train/cat/a.png": 10,
    "train/cat/deep/b.png": 20,
    "train/dog/a.png": 30,
    "test/cat/c.png": 40,
    "test/dog/d.png": 50,
}


def read(folder: ImageFolder) -> dict[str, Record]:
    return {item.id: item for item in folder.records() if isinstance(item, Record)}


def test_an_id_is_the_path_and_a_label_the_class_folder(picture_tree: Tree) -> None:
    records = read(ImageFolder(path=picture_tree(WHOLE), channels=1))

    assert {name: int(record.image[0, 0, 0]) for name, record in records.items()} == WHOLE
    assert records["train/cat/deep/b.png"].label == "cat"
    assert records["test/dog/d.png"].split == "test"
    assert records["test/dog/d.png"].image.shape == (4, 6, 1)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_the_val_split_has_several_names(picture_tree: Tree, name: str) -> None:
    records = read(ImageFolder(path=picture_tree({**WHOLE, f"{name}/cat/e.png": 60})))

    assert records[f"{name}/cat/e.png"].split == "val"


def test_adding_a_file_renames_nothing(picture_tree: Tree) -> None:
    folder = ImageFolder(path=picture_tree(WHOLE))
    before = read(folder)
    picture_tree({"train/cat/0.png": 1, "train/ant/0.png": 2})
    after = read(folder)

    assert all(after[name].label == record.label for name, record in before.items())
    assert folder.classes == ("ant", "cat", "dog")


def test_classes_are_sorted_unless_they_are_given_in_an_order(picture_tree: Tree) -> None:
    path = picture_tree(WHOLE)

    assert ImageFolder(path=path).classes == ("cat", "dog")
    assert ImageFolder(path=path, class_names=("dog", "cat")).classes == ("dog", "cat")


def test_images_are_resized_and_made_colour(picture_tree: Tree) -> None:
    records = read(ImageFolder(path=picture_tree(WHOLE), image_size=8, channels=3))

    assert {record.image.shape for record in records.values()} == {(8, 8, 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test/emu/x.png": 1}, "class 'emu' of test is not in train/, which has cat, dog"),
        ({"val/cat/x.png": 1, "valid/cat/x.png": 1}, "val and valid are both the val split"),
        ({"train/x.png": 1}, r"x\.png lies in no class folder"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(
    picture_tree: Tree, change: dict[str, int], message: str
) -> None:
    folder = ImageFolder(path=picture_tree({**WHOLE, **change}))

    with pytest.raises(DatasetError, match=message):
        assert folder.classes


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_named_with_what_is_there(picture_tree: Tree, split: str) -> None:
    root = picture_tree({name: 1 for name in WHOLE if not name.startswith(split)})

    with pytest.raises(DatasetError, match=f"no {split} split: it needs a folder named {split}"):
        list(ImageFolder(path=root).records())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        ImageFolder(path=tmp_path / "nowhere").source_state()


def test_a_class_that_the_list_lacks_is_refused(picture_tree: Tree) -> None:
    folder = ImageFolder(path=picture_tree(WHOLE), class_names=("cat", "emu"))

    with pytest.raises(DatasetError, match="class 'dog' of train is not in `class_names`"):
        assert folder.classes


def test_a_class_without_training_images_is_refused(picture_tree: Tree, tmp_path: Path) -> None:
    root = picture_tree(WHOLE)
    (root / "train" / "emu").mkdir()

    with pytest.raises(DatasetError, match="classes without a training image: emu"):
        pack(ImageFolder(path=root), tmp_path / "workspace")


def test_a_bad_image_stops_the_reading_and_is_named(picture_tree: Tree) -> None:
    root = picture_tree(WHOLE)
    (root / "train/dog/notes.txt").write_text("not an image")

    with pytest.raises(DatasetError, match=r"notes\.txt: not an image; .*on_bad_image: skip"):
        list(ImageFolder(path=root).records())


def test_bad_images_are_counted_by_reason_where_the_config_says_so(
    picture_tree: Tree, tmp_path: Path
) -> None:
    root = picture_tree(WHOLE)
    (root / "train/dog/notes.txt").write_text("not an image")
    (root / "train/dog/empty.png").touch()
    (root / "test/dog/empty.png").touch()
    folder = ImageFolder(path=root, on_bad_image="skip")

    skipped = [item for item in folder.records() if isinstance(item, Skipped)]
    assert [Path(item.source).name for item in skipped] == ["empty.png", "notes.txt", "empty.png"]
    manifest = pack(folder, tmp_path / "workspace").manifest
    assert manifest.skipped == {"empty file": 2, "not an image": 1}
    assert len(manifest) == len(WHOLE)


def test_what_file_managers_leave_behind_is_passed_over(picture_tree: Tree) -> None:
    root = picture_tree(WHOLE)
    (root / "train/dog/.DS_Store").write_text("x")
    (root / "train/dog/Thumbs.db").write_text("x")
    (root / "train/.ipynb_checkpoints").mkdir()

    assert len(read(ImageFolder(path=root))) == len(WHOLE)


def test_mixed_shapes_are_refused_with_the_way_out(picture_tree: Tree, tmp_path: Path) -> None:
    root = picture_tree(WHOLE)
    other = picture_tree({}) / "test/dog/d.png"
    from PIL import Image

    Image.new("L", (9, 9)).save(other)

    with pytest.raises(DatasetError, match=r"test/dog/d\.png is \(9, 9, 3\).*image_size"):
        pack(ImageFolder(path=root), tmp_path / "workspace")


def test_the_state_changes_with_any_file_and_any_field(picture_tree: Tree) -> None:
    root = picture_tree(WHOLE)
    folder = ImageFolder(path=root)
    states = [folder.source_state(), ImageFolder(path=root, image_size=8).source_state()]
    os.utime(root / "train/cat/a.png", ns=(1, 1))
    states.append(folder.source_state())
    (root / "train/cat/a.png").rename(root / "train/cat/z.png")
    states.append(folder.source_state())

    assert folder.source_state() == states[-1]
    assert all(states[i] != states[j] for i in range(4) for j in range(i))


def test_a_name_that_is_not_utf8_is_refused(picture_tree: Tree) -> None:
    root = picture_tree(WHOLE)
    bad = os.fsencode(root / "train/cat") + b"/\xff.png"
    Path(os.fsdecode(bad)).write_bytes((root / "train/cat/a.png").read_bytes())

    with pytest.raises(DatasetError, match="not valid UTF-8"):
        list(ImageFolder(path=root).records())


def test_a_class_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="a class is named twice"):
        ImageFolder(path=Path("x"), class_names=("cat", "dog", "cat"))


def test_one_class_is_too_few(picture_tree: Tree) -> None:
    folder = ImageFolder(path=picture_tree({"train/cat/a.png": 1, "test/cat/b.png": 2}))

    with pytest.raises(DatasetError, match="it takes two to learn from"):
        assert folder.classes


SFEW = {
    "Train/Train_Aligned_Faces/Angry/a.png": 1,
    "Train/Train_Aligned_Faces/Happy/b.png": 2,
    "Val/Val_Aligned_Faces/Angry/c.png": 3,
    "Val/Val_Aligned_Faces/Happy/d.png": 4,
    "Test/Test_Aligned_Faces/e.png": 5,
}


def test_splits_may_be_named_so_that_val_is_test_as_sfew_wants(picture_tree: Tree) -> None:
    folder = ImageFolder.model_validate(
        {
            "path": picture_tree(SFEW),
            "folders": {"train": "Train/Train_Aligned_Faces", "test": "Val/Val_Aligned_Faces"},
        }
    )

    assert folder.classes == ("Angry", "Happy")
    assert {name: r.split for name, r in read(folder).items()} == {
        "Train/Train_Aligned_Faces/Angry/a.png": "train",
        "Train/Train_Aligned_Faces/Happy/b.png": "train",
        "Val/Val_Aligned_Faces/Angry/c.png": "test",
        "Val/Val_Aligned_Faces/Happy/d.png": "test",
    }


def test_a_named_folder_that_is_missing_is_said(picture_tree: Tree) -> None:
    folder = ImageFolder(path=picture_tree(SFEW), folders={"train": "Train", "test": "Valid"})

    with pytest.raises(DatasetError, match="Valid, named as the test split, is not a folder"):
        folder.source_state()


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"train": "a"}, "names no folder for test"),
        ({"train": "a", "test": "a"}, "named twice"),
        ({"train": "../a", "test": "b"}, "no folder below `path`"),
        ({"train": "/a", "test": "b"}, "no folder below `path`"),
    ],
)
def test_named_folders_are_two_or_three_below_the_path(
    folders: dict[str, str], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageFolder.model_validate({"path": "x", "folders": folders})


def test_a_share_of_train_is_val_where_there_is_none(picture_tree: Tree) -> None:
    levels = {f"{s}/{c}/{n}.png": n for s in ("train", "test") for c in "ab" for n in range(100)}
    root = picture_tree(levels)

    splits = [r.split for r in read(ImageFolder(path=root, val_share=0.2)).values()]
    assert splits.count("test") == 200
    assert 20 <= splits.count("val") <= 60  # a fifth of 200, by chance
    picture_tree({"valid/a/1.png": 1})
    with pytest.raises(DatasetError, match="valid is the val split, and `val_share`"):
        ImageFolder(path=root, val_share=0.2).source_state()


def test_links_to_folders_are_followed_and_one_that_leads_back_is_refused(
    picture_tree: Tree, tmp_path: Path
) -> None:
    root = picture_tree(WHOLE)
    elsewhere = tmp_path / "elsewhere"
    (root / "train/cat/deep").rename(elsewhere)
    (root / "train/cat/deep").symlink_to(elsewhere)
    assert set(read(ImageFolder(path=root))) == set(WHOLE)

    (elsewhere / "back").symlink_to(root)
    (root / "train/dog/up").symlink_to(root / "train")
    with pytest.raises(DatasetError, match=r"(back|up) is a link to a folder that it lies in"):
        list(files_below(root))


def test_a_folder_that_cannot_be_read_is_named_and_not_passed_over(
    picture_tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = picture_tree(WHOLE)
    with pytest.raises(DatasetError, match="nowhere cannot be read: No such file"):
        list(files_below(root / "nowhere"))

    # What root may read, others may not; the system's answer is what is feigned here.
    real = os.scandir

    def refusing(path: os.PathLike[str] | str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DatasetError, match="train/cat/deep cannot be read: Permission denied"):
        list(ImageFolder(path=root).records())
