"""GLISTER against its definition, with gradients written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool, log_softmax
from pydantic import ValidationError

from strategies import Candidates, Head, Validation
from strategies.base import Doubles, Rows, Selection
from strategies.glister import GLISTER
from strategies.kernels.exact import Points

FORMS = [
    GLISTER(),
    GLISTER(step=0.0),
    GLISTER(step=0.3),
    GLISTER(regulariser="diversity", trade_off=2.0),
    GLISTER(regulariser="facility_location", trade_off=0.3),
]


def select(strategy: GLISTER, pool: Candidates, count: int, seed: int = 0) -> Selection:
    return strategy.select(pool, count, np.random.default_rng(seed))


def rows_of(batch: Selection, pool: Candidates) -> list[int]:
    return [pool.ids.tolist().index(name) for name in batch.ids.tolist()]


def with_one(points: Points) -> Doubles:
    wide: Doubles = np.hstack([points.astype(np.float64), np.ones((len(points), 1))])
    return wide


def gradients(log_probs: Points, points: Points, labels: Rows) -> Doubles:
    """(n, C, D + 1)."""
    residuals = np.exp(log_probs.astype(np.float64)) - np.eye(log_probs.shape[1])[labels]
    return residuals[:, :, None] * with_one(points)[:, None]


def without_validation(pool: Candidates) -> Candidates:
    assert pool.validation is not None
    old = pool.validation
    return replace(
        pool, validation=Validation(old.log_probs[:0], old.embeddings[:0], old.labels[:0])
    )


def written_out(strategy: GLISTER, pool: Candidates, count: int) -> tuple[list[int], list[float]]:
    """Every gradient of length C (D + 1), every similarity of the pool, no state kept."""
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    assert pool.labelled_labels is not None
    assert pool.head is not None
    assert pool.validation is not None
    pseudo = pool.log_probs.argmax(axis=1)
    mine = gradients(pool.log_probs, pool.embeddings, pseudo)
    weight = np.hstack([pool.head.weight, pool.head.bias[:, None]]).astype(np.float64)
    known = log_softmax(with_one(pool.labelled_embeddings) @ weight.T)
    targets = pool.validation
    if not len(targets.labels):
        targets = Validation(
            log_probs=np.vstack([known, pool.log_probs]),
            embeddings=np.vstack([pool.labelled_embeddings, pool.embeddings]),
            labels=np.concatenate([pool.labelled_labels, pseudo]),
        )
    descent = gradients(known, pool.labelled_embeddings, pool.labelled_labels).sum(axis=0)
    flat = mine.reshape(len(mine), -1)
    near = np.exp(-((flat[:, None] - flat) ** 2).sum(axis=2) / 2)
    rows: list[int] = []
    values: list[float] = []
    for _ in range(count):
        change = descent + mine[rows].sum(axis=0)
        logits = targets.log_probs - strategy.step * with_one(targets.embeddings) @ change.T
        now = gradients(log_softmax(logits), targets.embeddings, targets.labels).mean(axis=0)
        value = (mine * now).sum(axis=(1, 2))
        if strategy.regulariser == "diversity":
            value = value - strategy.trade_off * near[:, rows].sum(axis=1)
        if strategy.regulariser == "facility_location":
            covered = near[:, rows].max(axis=1, initial=0)
            value = value + strategy.trade_off * np.maximum(near - covered, 0).sum(axis=1)
        value[rows] = -np.inf
        rows.append(int(np.round(value, 6).argmax()))
        values.append(float(value[rows[-1]]))
    return rows, values


def on_a_line(points: list[float], probs: list[float]) -> Candidates:
    """Two classes with a head that says nothing; one validation sample of class 0 at 1."""
    first = np.array(probs, np.float32)
    return Candidates(
        ids=np.arange(len(points)),
        log_probs=np.log(np.stack([first, 1 - first], axis=1)),
        embeddings=np.array(points, np.float32)[:, None],
        labelled_embeddings=np.empty((0, 1), np.float32),
        labelled_labels=np.empty(0, np.int64),
        head=Head(weight=np.zeros((2, 1), np.float32), bias=np.zeros(2, np.float32)),
        validation=Validation(
            log_probs=np.full((1, 2), np.log(0.5), np.float32),
            embeddings=np.ones((1, 1), np.float32),
            labels=np.zeros(1, np.int64),
        ),
    )


def test_the_first_pick_on_paper() -> None:
    # G = (-1/2, 1/2) ⊗ (1, 1). Candidates of class 0 with p = 0.6 have a = (-0.4, 0.4), so
    # <g, G> = 0.4 (h + 1); one of class 1 would pull the head the other way: -0.4 (h + 1).
    pool = on_a_line([1, 2, 5], [0.6, 0.6, 0.4])
    batch = select(GLISTER(step=0.0), pool, 3)
    assert batch.ids.tolist() == [1, 0, 2]
    assert batch.scores.tolist() == pytest.approx([1.2, 0.8, -2.4])


def test_a_step_leaves_less_to_gain() -> None:
    # After a step of 1 down g = (-0.4, 0.4) ⊗ (2, 1) the validation logits are (1.2, -1.2) and
    # G = -(1 - p) (1, -1) ⊗ (1, 1) with p = 1 / (1 + e^-2.4), so the second gains 1.6 (1 - p).
    batch = select(GLISTER(step=1.0), on_a_line([1, 2], [0.6, 0.6]), 2)
    assert batch.ids.tolist() == [1, 0]
    assert batch.scores.tolist() == pytest.approx([1.2, 1.6 / (1 + np.exp(2.4))])


def test_diversity_turns_from_a_twin_to_another() -> None:
    pool = on_a_line([2, 2, 1], [0.6, 0.6, 0.6])
    assert select(GLISTER(step=0.0), pool, 2).ids.tolist() == [0, 1]
    apart = select(GLISTER(step=0.0, regulariser="diversity", trade_off=3.0), pool, 2)
    assert apart.ids.tolist() == [0, 2]
    # |g - g'|² = 2 · 0.16 · (2 - 1)²
    assert apart.scores[1] == pytest.approx(0.8 - 3 * np.exp(-0.16))


def test_without_steps_and_weights_it_is_the_order_of_the_first_gains() -> None:
    pool = build_pool("spread")
    plain = select(GLISTER(step=0.0), pool, len(pool))
    assert (np.diff(plain.scores) <= 0).all()
    free = select(GLISTER(step=0.0, regulariser="diversity", trade_off=0.0), pool, len(pool))
    assert free.ids.tolist() == plain.ids.tolist()
    free = select(GLISTER(step=0.0, regulariser="facility_location", trade_off=0.0), pool, 20)
    assert free.ids.tolist() == plain.ids.tolist()[:20]


@pytest.mark.parametrize("strategy", FORMS, ids=str)
@pytest.mark.parametrize("validated", [True, False])
def test_equals_the_definition_written_out(
    strategy: GLISTER, validated: bool, pool: Candidates
) -> None:
    given_pool = pool if validated else without_validation(pool)
    count = min(15, len(pool))
    batch = select(strategy, given_pool, count)
    rows, values = written_out(strategy, given_pool, count)
    size = max(1.0, float(np.abs(values).max()))
    np.testing.assert_allclose(batch.scores, values, atol=2e-5 * size)
    assert rows_of(batch, pool) == rows


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 25), st.integers(0, 2**32), st.sampled_from(FORMS), st.booleans())
def test_equals_the_definition_on_random_pools(
    num: int, seed: int, strategy: GLISTER, validated: bool
) -> None:
    rng = np.random.default_rng(seed)
    like = build_pool("spread", num=num)
    pool = replace(
        like,
        log_probs=log_softmax(rng.standard_normal((num, 4))).astype(np.float32),
        embeddings=rng.standard_normal((num, 6)).astype(np.float32),
    )
    pool = pool if validated else without_validation(pool)
    batch = select(strategy, pool, num)
    _, values = written_out(strategy, pool, num)
    np.testing.assert_allclose(batch.scores, values, atol=1e-5)


def test_without_validation_the_pool_and_the_labelled_take_its_place() -> None:
    pool = build_pool("spread")
    notes = select(GLISTER(), pool, 3).notes
    assert (notes["targets"], notes["num_targets"]) == ("validation", 8)
    notes = select(GLISTER(), without_validation(pool), 3).notes
    assert (notes["targets"], notes["num_targets"]) == ("labelled_and_pool", 65)


def test_a_share_of_the_picks_is_random() -> None:
    pool = build_pool("spread")
    plain = select(GLISTER(step=0.0), pool, len(pool)).ids.tolist()
    mixed = GLISTER(step=0.0, regulariser="random", trade_off=0.25)
    one, other = (select(mixed, pool, 20, seed=seed).ids.tolist() for seed in (1, 2))
    drawn = [one[place] for place in (3, 7, 11, 15, 19)]
    assert drawn != [other[place] for place in (3, 7, 11, 15, 19)]
    left = [name for name in plain if name not in drawn]
    assert [name for name in one if name not in drawn] == left[:15]


def test_all_picks_may_be_random_or_none() -> None:
    pool = build_pool("spread")
    none = GLISTER(regulariser="random", trade_off=0.0)
    assert select(none, pool, 9).ids.tolist() == select(GLISTER(), pool, 9).ids.tolist()
    every = GLISTER(regulariser="random", trade_off=1.0)
    still = GLISTER(regulariser="random", trade_off=1.0, step=0.0)
    assert select(every, pool, 60).ids.tolist() == select(still, pool, 60).ids.tolist()


@pytest.mark.parametrize("strategy", FORMS, ids=str)
def test_only_the_random_form_draws(strategy: GLISTER) -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    strategy.select(build_pool("spread"), 5, rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"regulariser": "diversity"}, "needs trade_off"),
        ({"trade_off": 1.0}, "nothing to weigh"),
        ({"regulariser": "random", "trade_off": 1.5}, "at most 1"),
        ({"regulariser": "diversity", "trade_off": -1.0}, "greater than or equal to 0"),
        ({"step": -0.1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GLISTER.model_validate(wrong)


def test_validation_samples_that_are_all_but_certain_pull_on_their_own_class_too() -> None:
    doubts = np.array([1e-18, 3e-18, 2e-18])
    pool = Candidates(
        ids=np.arange(2),
        log_probs=np.log(np.array([[0.6, 0.4], [0.4, 0.6]])).astype(np.float32),
        embeddings=np.array([[1, 0], [0, 1]], np.float32),
        labelled_embeddings=np.empty((0, 2), np.float32),
        labelled_labels=np.empty(0, np.int64),
        head=Head(weight=np.zeros((2, 2), np.float32), bias=np.zeros(2, np.float32)),
        validation=Validation(
            log_probs=np.stack([np.log1p(-doubts), np.log(doubts)], axis=1).astype(np.float32),
            embeddings=np.array([[1, 0], [1, 0], [0, 1]], np.float32),
            labels=np.zeros(3, np.int64),
        ),
    )
    batch = select(GLISTER(step=0.0), pool, 2)
    # Residuals are (-q, q) for validation samples, (-.4, .4) and (.4, -.4) for candidates.
    mean = np.array([[-1, 1]]).T * np.array([4e-18, 2e-18, 6e-18]) / 3
    own = np.array([[-0.4, 0.4], [0.4, -0.4]])
    seen = np.array([[1, 0, 1], [0, 1, 1]])
    gains = np.einsum("nc,cd,nd->n", own, mean, seen)
    assert batch.ids.tolist() == np.argsort(-gains).tolist()
    np.testing.assert_allclose(batch.scores, np.sort(gains)[::-1], rtol=1e-5)
