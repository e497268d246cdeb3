"""A strategy that asks for the classes that have too few labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool

from strategies import BADGE, Candidates, ClassBalanced, MarginSampling, StrategyError
from strategies.class_balanced import serve


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pool_of(predicted: list[int], confidence: list[float], labels: list[int]) -> Candidates:
    """Candidates 0, 1, … of two classes."""
    tops = np.array(confidence, np.float32)
    probs = np.stack([tops, 1 - tops], axis=1)
    probs[np.array(predicted) == 1] = probs[np.array(predicted) == 1, ::-1]
    return Candidates(
        ids=np.arange(len(predicted)),
        log_probs=np.log(probs),
        labelled_labels=np.array(labels, np.int64),
    )


def test_the_class_with_fewer_labels_is_served_first_by_the_least_sure() -> None:
    pool = pool_of([0, 0, 1, 1, 1], [0.6, 0.7, 0.95, 0.8, 0.9], labels=[0, 0])
    batch = ClassBalanced().select(pool, 4, rng())
    # Class 1 is two labels behind, so it is served twice, then the classes take turns.
    assert batch.ids.tolist() == [3, 4, 0, 2]


def test_a_class_without_candidates_passes_its_turn() -> None:
    pool = pool_of([0, 0, 1], [0.6, 0.7, 0.8], labels=[0, 0, 0])
    assert ClassBalanced().select(pool, 3, rng()).ids.tolist() == [2, 0, 1]


def test_shares_may_be_declared() -> None:
    pool = pool_of([0, 0, 0, 1, 1, 1], [0.6, 0.7, 0.8, 0.6, 0.7, 0.8], labels=[])
    batch = ClassBalanced(target=(2, 1)).select(pool, 3, rng())
    assert sorted(batch.ids.tolist()) == [0, 1, 3]


def test_shares_for_another_number_of_classes_are_refused() -> None:
    with pytest.raises(StrategyError, match="3 shares for 2 classes"):
        ClassBalanced(target=(1, 1, 1)).select(pool_of([0], [0.9], []), 1, rng())


def test_a_pool_predicted_as_one_class_is_left_to_the_strategy_inside() -> None:
    pool = build_pool("one_class")
    inside = BADGE().select(pool, 9, rng())
    batch = ClassBalanced(base=BADGE()).select(pool, 9, rng())
    assert batch.ids.tolist() == inside.ids.tolist()


def test_equals_serving_pick_by_pick() -> None:
    pool = build_pool("spread")
    assert pool.log_probs is not None
    assert pool.labelled_labels is not None
    ranked = MarginSampling().select(pool, len(pool), rng()).ids.tolist()
    predicted = dict(zip(pool.ids.tolist(), pool.log_probs.argmax(axis=1).tolist(), strict=True))
    have = np.bincount(pool.labelled_labels, minlength=4).tolist()
    expected: list[int] = []
    while len(expected) < 25:
        total = sum(have) + 1
        left = [i for i in ranked if i not in expected]
        classes = {predicted[i] for i in left}
        served = max(sorted(classes), key=lambda c: total / 4 - have[c])
        expected.append(next(i for i in left if predicted[i] == served))
        have[served] += 1
    assert ClassBalanced().select(pool, 25, rng()).ids.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
    st.floats(0, 1),
)
def test_no_class_is_served_beyond_its_candidates(
    classes: list[tuple[int, int]], share: float
) -> None:
    labelled, available = (np.array(column) for column in zip(*classes, strict=True))
    count = int(share * available.sum())
    order = serve(np.full(len(classes), 1 / len(classes)), labelled, available, count)
    assert len(order) == count
    assert (np.bincount(order, minlength=len(classes)) <= available).all()


@pytest.mark.parametrize("labelled", [[0, 2], [1, 7], [2, 12], [3, 17], [4, 22], [5, 27]])
def test_deficits_of_declared_shares_tie_without_rounding(labelled: list[int]) -> None:
    # With shares of 1 and 5 both lack equally much: of 9 labels 1.5 and 7.5, less 1 and 7.
    assert serve(np.array([1.0, 5.0]), np.array(labelled), np.array([1, 1]), 1) == [0]
