"""GradMatch against its definition, with gradients written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import POOLS, build_pool, log_softmax
from pydantic import ValidationError
from scipy.optimize import nnls

from strategies import Candidates, StrategyError, Validation
from strategies.base import Doubles, Floats, Rows, Selection
from strategies.gradmatch import GradMatch

FORMS = [
    GradMatch(),
    GradMatch(bias=True, scale="pool"),
    GradMatch(target="validation"),
    GradMatch(solver="omp"),
    GradMatch(solver="omp", target="validation", scale="pool", ridge=0.01, bias=True),
]


def select(strategy: GradMatch, pool: Candidates, count: int) -> Selection:
    return strategy.select(pool, count, np.random.default_rng(0))


def weights_of(batch: Selection) -> Doubles:
    return batch.maps["weight"].astype(np.float64)


def gradients(log_probs: Floats, points: Floats, labels: Rows, *, bias: bool) -> Doubles:
    """(n, C D), or (n, C (D + 1)) with bias."""
    residuals = np.exp(log_probs.astype(np.float64)) - np.eye(log_probs.shape[1])[labels]
    wide = points.astype(np.float64)
    if bias:
        wide = np.hstack([wide, np.ones((len(wide), 1))])
    return (residuals[:, :, None] * wide[:, None]).reshape(len(wide), -1)


def replayed(
    strategy: GradMatch, pool: Candidates, rows: list[int], pursued: int
) -> tuple[list[Doubles], Doubles]:
    """What the definition says, given the picks: all values before each, and the last weights.

    Values are relative to the largest there can be.
    """
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    assert pool.validation is not None
    pseudo = pool.log_probs.argmax(axis=1)
    mine = gradients(pool.log_probs, pool.embeddings, pseudo, bias=strategy.bias)
    mean = mine.mean(axis=0)
    if strategy.target == "validation":
        seen = pool.validation
        mean = gradients(seen.log_probs, seen.embeddings, seen.labels, bias=strategy.bias).mean(0)
    target = mean * (len(rows) if strategy.scale == "batch" else len(mine))
    norms = (mine**2).sum(axis=1)
    size = float(max(np.sqrt(norms.max() * (target**2).sum()), norms.max())) or 1.0
    weights, left = np.ones(len(rows)), target.copy()
    values = []
    for place, row in enumerate(rows):
        now = mine @ left if place < pursued else 2 * mine @ left - norms
        now[rows[:place]] = -np.inf
        values.append(now / size)
        if place < pursued:
            some = mine[rows[: place + 1]]
            wide = np.vstack([some.T, np.sqrt(strategy.ridge) * np.eye(len(some))])
            weights[: place + 1] = nnls(wide, np.append(target, np.zeros(len(some))))[0]
            left = target - some.T @ weights[: place + 1]
        else:
            left = left - mine[row]
        if strategy.solver == "omp" and place + 1 == pursued < len(rows):
            assert (mine @ left)[[r for r in range(len(mine)) if r not in rows]].max() < 1e-6 * size
    return values, weights


def test_a_batch_on_paper() -> None:
    # Two classes with p = 1/2 each: gradients are h (-1, 1) / 2, and those of the pool add up as
    # the numbers do. Their mean is 2, so two picks are to reach 4: with 4 done, 0 does no harm.
    points = np.array([[4], [0], [3], [1]], np.float32)
    pool = Candidates(
        ids=np.array(["a", "b", "c", "d"]),
        log_probs=np.full((4, 2), np.log(0.5), np.float32),
        embeddings=points,
    )
    batch = select(GradMatch(), pool, 2)
    assert batch.ids.tolist() == ["a", "b"]
    # |T|² = 16 / 2 is taken off as a whole, then nothing.
    assert batch.scores.tolist() == pytest.approx([8, 0], abs=1e-6)
    assert batch.notes["residual"] == pytest.approx(0, abs=1e-6)
    # Scaled to the pool the target is 8, and 4 + 3 comes nearest.
    assert select(GradMatch(scale="pool"), pool, 2).ids.tolist() == ["a", "c"]


@pytest.mark.parametrize("strategy", FORMS, ids=str)
@pytest.mark.parametrize("count", [1, 6, 20])
@pytest.mark.parametrize("kind", POOLS)
def test_equals_the_definition_written_out(strategy: GradMatch, count: int, kind: str) -> None:
    pool = build_pool(kind)
    batch = select(strategy, pool, min(count, len(pool)))
    rows = [int(name) - 100 for name in batch.ids]
    pursued = int(str(batch.notes["pursued"]))
    values, weights = replayed(strategy, pool, rows, pursued)
    # Of these two the values of most candidates agree to more digits than rows are rounded to.
    is_flat = kind in {"clusters", "far_from_origin"}
    for row, now in zip(rows, values, strict=True):
        assert now[row] >= now.max() - 1e-6
        assert is_flat or row == int((now >= now.max() - 1e-9).argmax())
    scale = float(weights.max())
    np.testing.assert_allclose(weights_of(batch)[rows], weights, atol=2e-4 * scale)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32), st.sampled_from(FORMS))
def test_weights_are_never_negative_and_belong_to_picks(
    num: int, seed: int, strategy: GradMatch
) -> None:
    rng = np.random.default_rng(seed)
    pool = replace(
        build_pool("spread", num=num),
        log_probs=log_softmax(rng.standard_normal((num, 4))).astype(np.float32),
        embeddings=rng.standard_normal((num, 6)).astype(np.float32),
    )
    batch = select(strategy, pool, num // 2 + 1)
    weights = weights_of(batch)
    assert (weights >= 0).all()
    assert {int(pool.ids[row]) for row in np.flatnonzero(weights)} <= {*batch.ids.tolist()}
    assert np.isfinite(batch.scores).all()


def test_of_twins_the_smaller_id_comes_first() -> None:
    pool = build_pool("duplicates")  # rows repeat every seven
    for strategy in FORMS:
        ids = select(strategy, pool, 25).ids.tolist()
        for place, name in enumerate(ids):
            twins = {*range(100 + (name - 100) % 7, name, 7)}
            assert twins <= {*ids[:place]}


def test_omp_comes_nearer_than_fixed_weights() -> None:
    pool = build_pool("spread")
    fixed, fitted = (
        select(GradMatch(solver=solver, ridge=1e-6), pool, 20) for solver in ("fixed", "omp")
    )
    assert float(str(fitted.notes["residual"])) < float(str(fixed.notes["residual"]))


def test_validation_is_asked_for_only_where_it_is_the_target() -> None:
    assert "validation" not in GradMatch().needs
    assert "validation" in GradMatch(target="validation").needs


def test_a_target_of_no_samples_is_refused() -> None:
    pool = build_pool("spread")
    assert pool.validation is not None
    old = pool.validation
    empty = Validation(old.log_probs[:0], old.embeddings[:0], old.labels[:0])
    with pytest.raises(StrategyError, match="no validation samples"):
        select(GradMatch(target="validation"), replace(pool, validation=empty), 3)


def test_a_ridge_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        GradMatch(ridge=0)
