"""AffectNet in its two layouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from al_orchestrator.datasets import AffectNet, Record, Skipped, pack
from al_orchestrator.datasets.affectnet import AFFECTNET_CLASSES
from al_orchestrator.errors import DatasetError

Tree = Callable[[dict[str, int]], Path]

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
    "expression,valence,arousal"
)


def row(name: str, code: int | str, box: str = "0,0,4,4") -> str:
    return f"{name},{box},1.0;2.0;3.0,{code},-0.1,0.2"


def listed(
    root: Path, training: list[str], validation: list[str], *, has_header: bool = True
) -> Path:
    """Lists, and a picture for each of their rows whose left half is black and right half white."""
    lists = root / "Manually_Annotated_file_lists"
    lists.mkdir(parents=True)
    (lists / "training.csv").write_text("\n".join([HEADER, *training]) + "\n")
    top = [HEADER] if has_header else []
    (lists / "validation.csv").write_text("\n".join([*top, *validation]) + "\n")
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, 20:] = 255
    for line in (*training, *validation):
        file = root / "Manually_Annotated_Images" / line.partition(",")[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file, "PNG")
    return root


def in_sets(picture_tree: Tree, codes: dict[str, int]) -> Path:
    """`{"train_set/7": 3}`: a crop and its label, a string as in the source, for each."""
    names = {name: tuple(name.split("/")) for name in codes}
    root = picture_tree(
        {
            f"{s}/images/{n}.jpg": code
            for (s, n), code in zip(names.values(), codes.values(), strict=True)
        }
    )
    for name, code in codes.items():
        folder = root / names[name][0] / "annotations"
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{names[name][1]}_exp.npy", np.array(str(code)))
        np.save(folder / f"{names[name][1]}_val.npy", np.array("-0.5"))
    return root


def found(reader: AffectNet) -> dict[str, Record]:
    return {item.id: item for item in reader.records() if isinstance(item, Record)}


def test_codes_are_classes_in_affectnets_own_order(tmp_path: Path) -> None:
    training = [row(f"{code}/a.jpg", code) for code in range(8)]
    reader = AffectNet(path=listed(tmp_path, training, [row("9/v.jpg", 3)]), val_share=0)

    records = found(reader)
    assert [records[f"{code}/a.jpg"].label for code in range(8)] == [
        "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
    ]  # fmt: skip
    assert records["9/v.jpg"].label == "surprise"
    assert {records[f"{code}/a.jpg"].split for code in range(8)} == {"train"}
    assert records["9/v.jpg"].split == "test"


@pytest.mark.parametrize(
    ("num_classes", "left_out"),
    [
        (8, {"none": 1, "uncertain": 2, "no face": 1}),
        (7, {"none": 1, "uncertain": 2, "no face": 1, "contempt": 1}),
    ],
)
def test_what_is_no_expression_is_left_out_and_counted(
    tmp_path: Path, num_classes: int, left_out: dict[str, int]
) -> None:
    codes = [*range(8), 8, 9, 9, 10]
    training = [
        row(f"{n}.jpg", code, "NULL,NULL,NULL,NULL" if code > 8 else "0,0,4,4")
        for n, code in enumerate(codes)
    ]
    root = listed(tmp_path / "source", training, [row("v.jpg", 0)])
    reader = AffectNet.model_validate(
        {"path": root, "num_classes": num_classes, "val_share": 0, "image_size": 8}
    )

    manifest = pack(reader, tmp_path / "workspace").manifest
    assert manifest.skipped == {f"annotated as {name}": n for name, n in left_out.items()}
    assert manifest.classes == AFFECTNET_CLASSES[:num_classes]
    assert len(manifest) == num_classes + 1


def test_a_picture_is_cut_to_its_face_box(tmp_path: Path) -> None:
    boxes = {"black.jpg": "0,0,16,16", "white.jpg": "22,2,16,16", "both.jpg": "16,4,8,8"}
    training = [row(name, 1, box) for name, box in boxes.items()]
    reader = AffectNet(path=listed(tmp_path, training, [row("v.jpg", 0)]), image_size=8)

    records = found(reader)
    assert records["black.jpg"].image.max() == 0
    assert records["white.jpg"].image.min() == 255
    assert records["both.jpg"].image[:, :4].max() == 0
    assert records["both.jpg"].image[:, 4:].min() == 255


def test_a_margin_widens_the_box_and_ends_with_the_picture(tmp_path: Path) -> None:
    # The box ends 2 pixels before the white half; a quarter of 8 pixels reaches it, a half beyond.
    root = listed(tmp_path, [row("a.jpg", 1, "10,0,8,8")], [row("v.jpg", 0)])
    white = {
        margin: found(AffectNet(path=root, image_size=8, margin=margin, fit="stretch"))["a.jpg"]
        .image.mean() / 255
        for margin in (0.0, 0.25, 0.5)
    }  # fmt: skip

    assert white[0.0] == white[0.25] == 0.0
    assert white[0.5] == pytest.approx(2 / 16, abs=0.02)


@pytest.mark.parametrize("box", ["400,0,8,8", "0,0,-1,4", "0,0,0,0"])
def test_a_box_without_a_pixel_of_its_picture_is_a_bad_image(tmp_path: Path, box: str) -> None:
    training = [row("a.jpg", 1, box), row("b.jpg", 1)]
    root = listed(tmp_path, training, [row("v.jpg", 0)])

    with pytest.raises(DatasetError, match=r"a\.jpg: face box outside of the image.*skip"):
        list(AffectNet(path=root).records())
    skipped = [
        item
        for item in AffectNet(path=root, on_bad_image="skip").records()
        if isinstance(item, Skipped)
    ]
    assert [Path(item.source).name for item in skipped] == ["a.jpg"]


def test_a_list_may_lack_its_header(tmp_path: Path) -> None:
    root = listed(tmp_path, [row("a.jpg", 1)], [row("v.jpg", 0), row("w.jpg", 2)], has_header=False)

    tested = {r.id: r.label for r in found(AffectNet(path=root)).values() if r.split == "test"}
    assert tested == {"v.jpg": "neutral", "w.jpg": "sad"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row("a.jpg", 11), r"line 2: expression '11' is no number from 0 to 10"),
        (row("a.jpg", "joy"), r"line 2: expression 'joy'"),
        ("a.jpg,0,0,4,4,3", r"line 2 has 6 fields; a list of AffectNet has 9"),
        (row("a.jpg", 1, "0,0,NULL,4"), r"line 2: face_x, .* are not four numbers"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_with_its_place(
    tmp_path: Path, line: str, message: str
) -> None:
    root = listed(tmp_path, [line], [row("v.jpg", 0)])

    with pytest.raises(DatasetError, match=message):
        list(AffectNet(path=root).records())


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    root = listed(tmp_path, [row("1/a.jpg", 1)], [row("v.jpg", 0)])
    (root / "Manually_Annotated_Images" / "1" / "a.jpg").unlink()

    with pytest.raises(DatasetError, match=r"1/a\.jpg: file cannot be opened"):
        list(AffectNet(path=root).records())


def test_what_is_not_unpacked_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no AffectNet: .*training\.csv.*train_set/"):
        AffectNet(path=tmp_path).source_state()
    (tmp_path / "train_set").mkdir()
    with pytest.raises(DatasetError, match="has no val_set/"):
        AffectNet(path=tmp_path).source_state()
    (tmp_path / "val_set").mkdir()
    with pytest.raises(DatasetError, match="annotations is not a folder"):
        list(AffectNet(path=tmp_path).records())
    lists = listed(tmp_path / "lists", [], []) / "Manually_Annotated_file_lists"
    with pytest.raises(DatasetError, match="no pictures; unpack them into"):
        AffectNet(path=lists.parent).source_state()


def test_sets_of_crops_are_read_by_their_annotations(picture_tree: Tree) -> None:
    codes = {"train_set/0": 7, "train_set/12": 5, "val_set/0": 1}
    reader = AffectNet(path=in_sets(picture_tree, codes), val_share=0, image_size=8)

    records = found(reader)
    assert {name: (r.split, r.label) for name, r in records.items()} == {
        "train_set/0": ("train", "contempt"),
        "train_set/12": ("train", "disgust"),
        "val_set/0": ("test", "happy"),
    }
    assert {int(records[name].image[0, 0, 0]) for name in codes} == {7, 5, 1}
    with pytest.raises(DatasetError, match="cropped already"):
        list(reader.model_copy(update={"margin": 0.1}).records())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["1", "2"]), "holds 2 values"),
        (np.array("happy"), "expression 'happy'"),
        (np.array([{}]), "cannot be read as an array"),
    ],
)
def test_an_annotation_that_makes_no_sense_is_named(
    picture_tree: Tree, value: np.ndarray, message: str
) -> None:
    root = in_sets(picture_tree, {"train_set/3": 1, "val_set/0": 1})
    np.save(root / "train_set" / "annotations" / "3_exp.npy", value, allow_pickle=True)

    with pytest.raises(DatasetError, match=rf"3_exp\.npy.*{message}"):
        list(AffectNet(path=root).records())


def test_a_share_of_the_training_images_is_val_and_test_is_all_of_theirs(
    picture_tree: Tree,
) -> None:
    codes = {f"train_set/{n}": 1 for n in range(200)} | {f"val_set/{n}": 1 for n in range(20)}
    reader = AffectNet(path=in_sets(picture_tree, codes), val_share=0.2, image_size=8)

    counts = Counter(record.split for record in found(reader).values())
    assert counts["test"] == 20
    assert 20 <= counts["val"] <= 60  # a fifth of 200, by chance
    assert counts.total() == 220


def test_the_state_changes_with_a_list_and_with_a_picture(tmp_path: Path) -> None:
    root = listed(tmp_path, [row("1/a.jpg", 1)], [row("v.jpg", 0)])
    states = [AffectNet(path=root).source_state()]
    (root / "Manually_Annotated_Images" / "1" / "a.jpg").write_bytes(b"other")
    states.append(AffectNet(path=root).source_state())
    (root / "Manually_Annotated_file_lists" / "training.csv").write_text(HEADER)
    states.append(AffectNet(path=root).source_state())

    assert all(states[i] != states[j] for i in range(3) for j in range(i))
