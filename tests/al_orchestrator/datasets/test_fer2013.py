"""FER2013 in its three forms, from drawn images; and the real one where it is at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from al_orchestrator.datasets.base import Record, Skipped
from al_orchestrator.datasets.check import describe
from al_orchestrator.datasets.fer2013 import FER2013, FER_CLASSES
from al_orchestrator.datasets.pack import pack
from al_orchestrator.errors import DatasetError

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[int], Pixels]
Encode = Callable[[Pixels], bytes]

# Two of each class to train on, one of each for val and test: (class code, split).
SAMPLES = [
    *((code, "train") for code in (*range(7), *range(7))),
    *((code, "val") for code in range(7)),
    *((code, "test") for code in range(7)),
]
USAGE = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}


def read(source: Path) -> list[Record]:
    return [item for item in FER2013(path=source).records() if isinstance(item, Record)]


def write_csv(
    path: Path,
    rows: Sequence[tuple[object, object, object]],
    header: str = "emotion,pixels,Usage",
) -> Path:
    lines = [header, *(f"{emotion},{pixels},{usage}" for emotion, pixels, usage in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def as_csv(tmp_path: Path, gradient: Draw) -> Path:
    rows = [
        (code, " ".join(map(str, gradient(number).ravel())), USAGE[split])
        for number, (code, split) in enumerate(SAMPLES)
    ]
    return write_csv(tmp_path / "fer2013.csv", rows)


@pytest.fixture
def as_parquet(tmp_path: Path, gradient: Draw, png: Encode) -> Path:
    path = tmp_path / "fer2013.parquet"
    pq.write_table(parquet_table(gradient, png), path)
    return path


def parquet_table(gradient: Draw, png: Encode) -> pa.Table:
    return pa.table(
        {
            "id": [f"fer2013_{number:05d}" for number in range(len(SAMPLES))],
            "split": [split for _, split in SAMPLES],
            "label": pa.array([code for code, _ in SAMPLES], pa.int8()),
            "label_name": [FER_CLASSES[code] for code, _ in SAMPLES],
            "image": [png(gradient(number)) for number in range(len(SAMPLES))],
        }
    )


def write_tree(root: Path, draw: Draw, encode: Encode, folders: dict[str, str]) -> Path:
    for number, (code, split) in enumerate(SAMPLES):
        name = f"{USAGE[split]}_{number}.png"
        path = root / folders[split] / FER_CLASSES[code] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw(number)))
    return root


def test_csv_and_parquet_pack_to_the_very_same_dataset(
    as_csv: Path, as_parquet: Path, tmp_path: Path
) -> None:
    first = pack(FER2013(path=as_csv), tmp_path)
    second = pack(FER2013(path=as_parquet), tmp_path)

    assert first.folder == second.folder
    assert first.manifest.ids[0] == "fer2013_00000"
    assert first.manifest.classes == FER_CLASSES


@pytest.mark.parametrize(
    "folders",
    [
        {"train": "Training", "val": "PublicTest", "test": "PrivateTest"},
        {"train": "train", "val": "validation", "test": "test"},
        # The common image release has two folders; its files are still named by usage.
        {"train": "train", "val": "test", "test": "test"},
    ],
)
def test_a_folder_gives_the_same_images_labels_and_splits(
    tmp_path: Path, gradient: Draw, png: Encode, folders: dict[str, str]
) -> None:
    records = read(write_tree(tmp_path / "fer", gradient, png, folders))

    got = {Path(record.id).stem.rsplit("_")[-1]: record for record in records}
    for number, (code, split) in enumerate(SAMPLES):
        record = got[str(number)]
        assert record.id.startswith(f"{folders[split]}/{FER_CLASSES[code]}/")
        assert (record.label, record.split) == (FER_CLASSES[code], split)
        np.testing.assert_array_equal(record.image[..., 0], gradient(number))


def test_a_test_folder_without_usage_in_its_names_is_all_test(
    tmp_path: Path, gradient: Draw, png: Encode
) -> None:
    folders = {"train": "train", "val": "test", "test": "test"}
    root = write_tree(tmp_path / "fer", gradient, png, folders)
    for path in sorted(root.glob("test/*/Public*")):
        path.rename(path.with_name(path.name.replace("PublicTest_", "im")))

    assert {record.split for record in read(root)} == {"train", "test"}


def test_spaces_in_the_header_and_other_columns_do_no_harm(tmp_path: Path, gradient: Draw) -> None:
    pixels = " ".join(map(str, gradient(3).ravel()))
    path = write_csv(tmp_path / "icml.csv", [(3, "Training", pixels)], "emotion, Usage, pixels")

    (record,) = read(path)
    assert (record.label, record.split) == ("happy", "train")
    np.testing.assert_array_equal(record.image[..., 0], gradient(3))


FACE = " ".join(["7"] * 2304)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((7, FACE, "Training"), "row 0: emotion '7' is none of 0, 1"),
        ((3, FACE, "train"), "row 0: Usage 'train' is none of Training, PublicTest, PrivateTest"),
        ((3, "7 7 7", "Training"), "row 0: not 48 x 48 pixels"),
        ((3, FACE.replace("7", "256", 1), "Training"), r"row 0: pixels .* in 0\.\.255"),
        ((3, FACE.replace("7", "x", 1), "Training"), r"row 0: pixels .* in 0\.\.255"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: tuple[int, str, str], message: str) -> None:
    path = write_csv(tmp_path / "fer2013.csv", [row])

    with pytest.raises(DatasetError, match=message):
        read(path)


def test_bad_images_are_skipped_where_the_config_says_so(
    tmp_path: Path, as_parquet: Path, gradient: Draw, png: Encode
) -> None:
    path = write_csv(tmp_path / "some.csv", [(3, "7 7 7", "Training"), (3, FACE, "Training")])
    first, second = FER2013(path=path, on_bad_image="skip").records()
    assert isinstance(first, Skipped)
    assert first.source.endswith("row 0")
    assert isinstance(second, Record)
    assert second.id == "fer2013_00001"

    table = parquet_table(gradient, png)
    images = table["image"].to_pylist()
    images[20] = images[20][:60]
    images[21] = None
    images[22] = png(gradient(1)[:40])
    table = table.set_column(4, "image", pa.array(images, pa.binary()))
    pq.write_table(table, as_parquet)
    skipped = [
        item
        for item in FER2013(path=as_parquet, on_bad_image="skip").records()
        if isinstance(item, Skipped)
    ]
    assert [item.source.split()[-1] for item in skipped] == [
        "fer2013_00020",
        "fer2013_00021",
        "fer2013_00022",
    ]
    assert [item.reason for item in skipped] == [
        "truncated or corrupt",
        "empty file",
        "not 48 x 48 pixels",
    ]
    with pytest.raises(DatasetError, match="fer2013_00020: truncated or corrupt"):
        read(as_parquet)


def test_a_label_that_contradicts_its_name_is_refused(
    as_parquet: Path, gradient: Draw, png: Encode
) -> None:
    table = parquet_table(gradient, png)
    names = table["label_name"].to_pylist()
    table = table.set_column(3, "label_name", pa.array(["anger", *names[1:]]))
    pq.write_table(table, as_parquet)

    with pytest.raises(DatasetError, match="fer2013_00000: label 0 is angry, not anger"):
        read(as_parquet)


def test_an_unknown_class_folder_is_named(tmp_path: Path, gradient: Draw, png: Encode) -> None:
    root = write_tree(tmp_path / "fer", gradient, png, {s: s for s in ("train", "val", "test")})
    (root / "test" / "contempt").mkdir()

    with pytest.raises(DatasetError, match="class folder 'contempt' is none of angry, disgust"):
        read(root)


def test_a_source_of_another_kind_is_refused_with_what_is_accepted(tmp_path: Path) -> None:
    archive = tmp_path / "fer2013.tar.gz"
    archive.touch()
    with pytest.raises(DatasetError, match=r"neither a folder nor a \.csv or \.parquet.*unpack"):
        FER2013(path=archive).source_state()
    with pytest.raises(DatasetError, match=r"gone\.csv cannot be read: No such file"):
        FER2013(path=tmp_path / "gone.csv").source_state()
    with pytest.raises(DatasetError, match=r"has no column Usage; it has \['emotion', 'pixels'\]"):
        read(write_csv(tmp_path / "train.csv", [], "emotion,pixels"))
    fake = tmp_path / "fake.parquet"
    fake.write_text("no parquet")
    with pytest.raises(DatasetError, match="not a whole Parquet file"):
        read(fake)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"emotion,pixels,Usage\n\xff\xfe")
    with pytest.raises(DatasetError, match="not a CSV file"):
        read(binary)


REAL = Path(
    os.environ.get("ALO_FER2013", Path(__file__).parents[4] / "shared" / "data" / "fer2013.parquet")
)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="FER2013 is not here; set ALO_FER2013 to its file")
def test_the_real_set_has_the_published_counts_and_duplicates(tmp_path: Path) -> None:
    found = describe(pack(FER2013(path=REAL), tmp_path))

    assert {split: sum(counts.values()) for split, counts in found.counts.items()} == {
        "train": 28_709,
        "val": 3_589,
        "test": 3_589,
    }
    assert list(found.counts["train"].values()) == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert list(found.counts["val"].values()) == [467, 56, 496, 895, 653, 415, 607]
    assert (found.repeats, found.conflicting, found.leaking) == (1_851, 70, 568)
    assert found.image_shape == (48, 48, 1)


def test_images_may_be_scaled_down_alike_from_every_form(as_csv: Path, as_parquet: Path) -> None:
    whole = read(as_csv)
    for source in (as_csv, as_parquet):
        dataset = FER2013(path=source, image_size=24)
        small = [item for item in dataset.records() if isinstance(item, Record)]
        assert [r.id for r in small] == [r.id for r in whole]
        for full, scaled in zip(whole, small, strict=True):
            assert scaled.image.shape == (24, 24, 1)
            assert (scaled.label, scaled.split) == (full.label, full.split)
            # Where the gradient is smooth, and it is nearly everywhere, a pixel is a mean of four.
            means = full.image.reshape(24, 2, 24, 2).mean(axis=(1, 3))
            assert np.median(np.abs(scaled.image[..., 0] - means)) <= 1.5
    assert "image_size" not in FER2013(path=as_csv).source_state()
    assert FER2013(path=as_csv, image_size=24).source_state()["image_size"] == 24


def test_either_of_the_two_held_out_sets_may_be_the_test_split(as_csv: Path) -> None:
    swapped = FER2013(path=as_csv, test="PublicTest")
    found = {item.id: item.split for item in swapped.records() if isinstance(item, Record)}
    exchanged = {"train": "train", "val": "test", "test": "val"}
    assert found == {record.id: exchanged[record.split] for record in read(as_csv)}
    assert swapped.source_state() != FER2013(path=as_csv).source_state()
