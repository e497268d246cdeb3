"""Which samples the strategies ask for that look for the nearest other class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from strategies import Candidates, Head, QueryStrategy
from strategies.adversarial import BIM, DeepFool, DeepFoolLinear
from strategies.base import Attack

Array = npt.NDArray[np.float64]

ATTACKS = pytest.mark.parametrize("strategy", [DeepFool(), BIM()], ids=["deepfool", "bim"])


def with_distances(*distances: float) -> Candidates:
    return Candidates(ids=np.arange(len(distances)), flip_distances=np.array(distances, np.float32))


def asked(strategy: QueryStrategy, pool: Candidates, size: int | None = None) -> list[int]:
    size = len(pool) if size is None else size
    return [int(i) for i in strategy.select(pool, size, np.random.default_rng(0)).ids]


def classified(logits: Array, weight: Array) -> Candidates:
    """Candidates with these logits under a head of these weights."""
    log_probs: Any = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    head = Head(weight.astype(np.float32), np.zeros(len(weight), np.float32))
    return Candidates(ids=np.arange(len(logits)), log_probs=log_probs, head=head)


@ATTACKS
def test_the_smallest_change_is_asked_first_and_what_never_flips_last(
    strategy: QueryStrategy,
) -> None:
    pool = with_distances(np.inf, 0.5, np.inf, 0.25, 3.0, 0.0)
    assert asked(strategy, pool) == [5, 3, 1, 4, 0, 2]
    batch = strategy.select(pool, 6, np.random.default_rng(0))
    assert batch.scores.tolist() == [1.0, 0.8, 1 / 1.5, 0.25, 0.0, 0.0]
    assert batch.notes == {"never_flipped": 2}


@ATTACKS
def test_distances_that_score_alike_are_still_told_apart(strategy: QueryStrategy) -> None:
    # 1 + 2e-20 is 1 in float64, and so are both scores.
    assert asked(strategy, with_distances(2e-20, 1e-20), 1) == [1]


@ATTACKS
def test_equal_distances_are_ordered_by_id(strategy: QueryStrategy) -> None:
    assert asked(strategy, with_distances(2.0, 1.0, 2.0, 1.0), 3) == [1, 3, 0]


@ATTACKS
def test_where_nothing_flips_the_first_ids_are_asked(strategy: QueryStrategy) -> None:
    assert asked(strategy, with_distances(*[np.inf] * 4), 2) == [0, 1]


def test_the_attack_is_what_the_fields_say() -> None:
    flips = DeepFool(max_steps=7, overshoot=0.1).computation.flips
    assert flips == Attack("deepfool", max_steps=7, step=0.0, overshoot=0.1)
    flips = BIM(max_steps=9, step=0.25).computation.flips
    assert flips == Attack("bim", max_steps=9, step=0.25, overshoot=0.0)
    assert DeepFoolLinear().computation.flips is None


@pytest.mark.parametrize("fields", [{"max_steps": 0}, {"step": 0}, {"step": -1}])
def test_an_attack_that_goes_nowhere_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="greater than"):
        BIM.model_validate(fields)


def test_the_linear_distance_is_the_way_to_the_nearest_plane() -> None:
    # Rows of weights (0, 0), (3, 4), (0, 1): planes between 0 and 1 at 5, between 0 and 2 at 1.
    weight = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    pool = classified(np.array([[10.0, 0.0, 0.0], [10.0, 5.0, 5.0], [10.0, 8.0, 0.0]]), weight)
    # Ways (10 / 5, 10 / 1), (5 / 5, 5 / 1) and (2 / 5, 10 / 1).
    np.testing.assert_allclose(DeepFoolLinear().distances(pool), [2.0, 1.0, 0.4], rtol=1e-12)
    assert asked(DeepFoolLinear(), pool) == [2, 1, 0]


def test_a_narrow_margin_between_far_classes_is_nearer_than_its_margin_says() -> None:
    weight = np.array([[0.0], [10.0], [0.5]])
    # Margins 2 against class 1 (0.2 away) and 1 against class 2 (2 away).
    pool = classified(np.array([[3.0, 1.0, -9.0], [3.0, -9.0, 2.0]]), weight)
    assert asked(DeepFoolLinear(), pool) == [0, 1]


def test_classes_of_equal_weights_meet_where_they_are_equally_likely_or_never() -> None:
    weight = np.array([[1.0, 2.0], [1.0, 2.0]])
    pool = classified(np.array([[1.0, 0.0], [2.0, 2.0]]), weight)
    assert DeepFoolLinear().distances(pool).tolist() == [np.inf, 0.0]


def test_a_class_ruled_out_is_infinitely_far() -> None:
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
    head = Head(np.eye(3, 2, dtype=np.float32), np.zeros(3, np.float32))
    pool = Candidates(ids=np.arange(2), log_probs=log_probs, head=head)
    assert DeepFoolLinear().distances(pool).tolist() == [np.inf, 0.0]


def test_with_one_class_there_is_no_other() -> None:
    pool = classified(np.zeros((3, 1)), np.ones((1, 2)))
    assert DeepFoolLinear().distances(pool).tolist() == [np.inf] * 3
    assert asked(DeepFoolLinear(), pool, 2) == [0, 1]


def slow_twin(logits: Array, weight: Array) -> Array:
    """One sample and one class at a time, from logits."""
    found = []
    for z in logits:
        y = int(z.argmax())
        others = [k for k in range(len(z)) if k != y]
        ways = [(z[y] - z[k]) / np.linalg.norm(weight[y] - weight[k]) for k in others]
        found.append(min(ways))
    return np.array(found)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    num=st.integers(1, 30),
    classes=st.integers(2, 6),
    width=st.integers(1, 5),
)
def test_distances_are_those_of_the_definition(
    seed: int, num: int, classes: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((classes, width)).astype(np.float32).astype(np.float64)
    embeddings = rng.standard_normal((num, width))
    logits = embeddings @ weight.T + rng.standard_normal(classes)
    pool, slow = classified(logits, weight), slow_twin(logits, weight)
    np.testing.assert_allclose(DeepFoolLinear().distances(pool), slow, rtol=1e-9, atol=1e-12)
    if len(np.unique(slow.round(9))) == num:
        assert asked(DeepFoolLinear(), pool) == np.argsort(slow).tolist()


@settings(deadline=None, max_examples=60)
@given(
    distances=st.lists(
        st.one_of(st.just(np.inf), st.integers(0, 5).map(float)), min_size=1, max_size=20
    )
)
def test_the_order_is_that_of_distance_and_id(distances: list[float]) -> None:
    expected = sorted(range(len(distances)), key=lambda row: (distances[row], row))
    assert asked(DeepFool(), with_distances(*distances)) == expected
