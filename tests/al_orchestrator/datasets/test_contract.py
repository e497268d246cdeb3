"""What every member of `AnyDataset` promises; joining the union enrols a reader here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import TypeAdapter, ValidationError

from al_orchestrator.datasets import AnyDataset, DatasetReader, Record, pack

Pixels = npt.NDArray[np.uint8]
READERS: tuple[type[DatasetReader], ...] = get_args(get_args(AnyDataset)[0])
NAMES = [reader.model_fields["name"].default for reader in READERS]


@pytest.fixture
def example(  # noqa: C901 - one function for each source
    tmp_path: Path,
    picture_tree: Callable[[dict[str, int]], Path],
    gradient: Callable[[int], Pixels],
) -> Callable[[str], DatasetReader]:
    """A small dataset of the kind with this name."""

    def folder() -> dict[str, object]:
        levels = {f"{s}/{c}/{n}.png": n for s in ("train", "test") for c in "ab" for n in (1, 2)}
        return {"path": picture_tree(levels)}

    def fer2013() -> dict[str, object]:
        rows = [
            f"{number % 7},{' '.join(map(str, gradient(number).ravel()))},{usage}"
            for number, usage in enumerate(["Training"] * 14 + ["PublicTest"] + ["PrivateTest"] * 2)
        ]
        path = tmp_path / "fer2013.csv"
        path.write_text("\n".join(["emotion,pixels,Usage", *rows]))
        return {"path": path}

    def rafdb() -> dict[str, object]:
        names = [f"{'test' if n % 3 == 0 else 'train'}_{n:05}" for n in range(1, 43)]
        root = picture_tree(
            {f"Image/aligned/{name}_aligned.jpg": n for n, name in enumerate(names)}
        )
        (root / "EmoLabel").mkdir()
        lines = [f"{name}.jpg {1 + n // 3 % 7}" for n, name in enumerate(names)]
        (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines) + "\n")
        return {"path": root, "image_size": 8}

    def affectnet() -> dict[str, object]:
        sets = {"train_set": range(16), "val_set": range(4)}
        levels = {f"{name}/images/{n}.jpg": n for name, numbers in sets.items() for n in numbers}
        root = picture_tree(levels)
        for name, numbers in sets.items():
            (root / name / "annotations").mkdir()
            for n in numbers:
                np.save(root / name / "annotations" / f"{n}_exp.npy", np.array(str(n % 8)))
        return {"path": root, "image_size": 8, "val_share": 0}

    def ckplus() -> dict[str, object]:
        emotions = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
        people = [f"S{n:03}" for n in range(10)]
        levels = {f"{e}/{p}_{e}.png": i for i, e in enumerate(emotions) for p in people}
        return {"path": picture_tree(levels), "image_size": 8}

    def kdef() -> dict[str, object]:
        codes = ("AF", "AN", "DI", "HA", "NE", "SA", "SU")
        people = [f"{sex}{n:02}" for sex in "FM" for n in range(1, 6)]
        levels = {f"A{p}/A{p}{e}{a}.JPG": 1 for p in people for e in codes for a in ("S", "HL")}
        return {"path": picture_tree(levels), "image_size": 8, "angles": ["S"]}

    def arrays() -> dict[str, object]:
        for split, count in (("train", 6), ("test", 3)):
            images = np.arange(count * 64, dtype=np.uint8).reshape(count, 8, 8)
            np.save(tmp_path / f"x_{split}.npy", images)
            np.save(tmp_path / f"y_{split}.npy", np.arange(count) % 2)
        return {"path": tmp_path, "class_names": ["cat", "dog"]}

    options: dict[str, Callable[[], dict[str, object]]] = {
        "faces": lambda: {"image_size": 16, "num_train": 20, "num_val": 2, "num_test": 7},
        "digits": dict,
        "fer2013": fer2013,
        "image_folder": folder,
        "rafdb": rafdb,
        "affectnet": affectnet,
        "ckplus": ckplus,
        "kdef": kdef,
        "arrays": arrays,
    }

    def make(name: str) -> DatasetReader:
        # Through plain values, as from YAML.
        adapter: TypeAdapter[DatasetReader] = TypeAdapter(AnyDataset)
        return adapter.validate_python({"name": name, **options[name]()})

    return make


@pytest.mark.parametrize("name", NAMES)
def test_reading_twice_gives_the_same_samples(
    example: Callable[[str], DatasetReader], name: str
) -> None:
    reader = example(name)
    first, second = (list(reader.records()) for _ in range(2))

    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert isinstance(one, Record)
        assert isinstance(other, Record)
        assert (one.id, one.split, one.label) == (other.id, other.split, other.label)
        np.testing.assert_array_equal(one.image, other.image)
        assert one.label in reader.classes


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_small_plain_and_steady(
    example: Callable[[str], DatasetReader], name: str
) -> None:
    reader = example(name)

    assert json.dumps(reader.source_state()) == json.dumps(reader.source_state())
    assert len(json.dumps(reader.source_state())) < 2000


@pytest.mark.parametrize("name", NAMES)
def test_rules_for_duplicates_do_not_make_a_source_be_read_again(
    example: Callable[[str], DatasetReader], name: str
) -> None:
    reader = example(name)
    strict = reader.model_copy(
        update={"duplicates": reader.duplicates.model_copy(update={"within_pool": "drop"})}
    )

    assert strict.source_state() == reader.source_state()


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_elsewhere_has_the_same_fingerprint(
    example: Callable[[str], DatasetReader], name: str, tmp_path: Path
) -> None:
    reader = example(name)
    first, second = (pack(reader, tmp_path / place).manifest for place in ("here", "there"))

    assert first.fingerprint == second.fingerprint
    assert first.classes == reader.classes
    assert first.ids.tolist() == sorted(first.ids.tolist())
    assert "train" in first.splits
    assert "test" in first.splits


def test_an_unknown_name_is_answered_with_the_list() -> None:
    adapter: TypeAdapter[DatasetReader] = TypeAdapter(AnyDataset)

    with pytest.raises(ValidationError) as error:
        adapter.validate_python({"name": "fer13"})

    assert all(f"'{name}'" in str(error.value) for name in NAMES)


@pytest.mark.parametrize("reader", READERS)
def test_every_field_says_what_it_is_for(reader: type[DatasetReader]) -> None:
    silent = [
        name
        for name, field in reader.model_fields.items()
        if name != "name" and not field.description
    ]

    assert silent == []


def test_importing_the_readers_loads_no_heavy_library() -> None:
    script = (
        "import sys, al_orchestrator.datasets\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'pyarrow', 'PIL', 'pandas', 'ray', 'mlflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
