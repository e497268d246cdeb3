"""A seed set that looks at labels says how many."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from al_orchestrator.seed_sets import Stratified
from strategies import Candidates, RandomSampling


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_each_class_gets_its_share_of_the_first_ones_looked_at() -> None:
    ids = np.array([f"{k:02}" for k in range(40)])
    labels = np.arange(40) % 4
    chosen = Stratified().select(ids, labels, 8, rng())
    order = RandomSampling().select(Candidates(ids=ids), 40, rng()).ids.tolist()
    label_of = dict(zip(ids.tolist(), labels.tolist(), strict=True))
    expected = sorted(
        (id_ for c in range(4) for id_ in [i for i in order if label_of[i] == c][:2]),
        key=order.index,
    )
    assert chosen.ids.tolist() == expected
    assert chosen.notes["labels_looked_at"] == order.index(expected[-1]) + 1


def test_a_class_too_small_for_its_share_gives_all_it_has() -> None:
    labels = np.array([0] * 30 + [1] * 2 + [2] * 30)
    ids = np.array([f"{k:02}" for k in range(62)])
    chosen = Stratified().select(ids, labels, 13, rng())
    counts = np.bincount(labels[np.searchsorted(ids, chosen.ids)])
    assert counts.tolist() == [6, 2, 5]  # what is left over goes to the first class


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60))
def test_it_is_as_large_as_asked_for(labels: list[int], size: int) -> None:
    ids = np.array([f"{k:02}" for k in range(len(labels))])
    size = min(size, len(labels))
    chosen = Stratified().select(ids, np.array(labels), size, rng())
    assert len({*chosen.ids.tolist()}) == size
    looked_at = chosen.notes["labels_looked_at"]
    assert isinstance(looked_at, int)
    assert size <= looked_at <= len(labels)
