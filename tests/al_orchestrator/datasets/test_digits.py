"""scikit-learn's digits."""

from collections import Counter

import numpy as np
import pytest

from al_orchestrator.datasets.base import Record
from al_orchestrator.datasets.digits import Digits, split_by_hash


def read(digits: Digits) -> list[Record]:
    return [record for record in digits.records() if isinstance(record, Record)]


def test_digits_are_the_1797_images_of_the_source_scaled_to_8_bits() -> None:
    records = read(Digits())

    assert len(records) == 1797
    assert records[0].id == "digits-0000"
    assert records[0].label == "0"
    # The first row of the source's first image is 0 0 5 13 9 1 0 0, of 16.
    assert records[0].image[0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert records[0].image.shape == (8, 8, 1)


def test_every_class_is_split_by_the_asked_shares() -> None:
    counts = Counter((r.label, r.split) for r in read(Digits(test_share=0.25, val_share=0.1)))

    for label in Digits().classes:
        total = sum(counts[label, split] for split in ("train", "val", "test"))
        assert counts[label, "test"] == round(total * 0.25)
        assert counts[label, "val"] == round(total * 0.1)


def test_larger_digits_keep_their_id_split_and_brightness() -> None:
    small, large = read(Digits()), read(Digits(image_size=32))

    assert large[5].image.shape == (32, 32, 1)
    assert [(r.id, r.split) for r in small] == [(r.id, r.split) for r in large]
    assert large[5].image.mean() == pytest.approx(small[5].image.mean(), rel=0.03)


def test_a_split_depends_on_the_ids_of_the_class_alone() -> None:
    ids = [f"x{number}" for number in range(40)]
    labels = np.array([0, 1] * 20)
    splits = dict(zip(ids, split_by_hash(ids, labels, test_share=0.2, val_share=0.1), strict=True))
    evens = ids[::2][::-1]

    again = split_by_hash(evens, np.zeros(20, np.int64), test_share=0.2, val_share=0.1)

    assert again == [splits[name] for name in evens]
    assert Counter(again) == {"train": 14, "test": 4, "val": 2}
