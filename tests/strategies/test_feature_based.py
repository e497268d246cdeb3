from __future__ import annotations

import numpy as np
import plainly
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool

from strategies import Candidates, Selection
from strategies.base import Doubles
from strategies.feature_based import FeatureBased


def select(strategy: FeatureBased, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def test_some_of_everything_before_more_of_the_same() -> None:
    points = np.array([[7, 0], [6, 0], [0, 1]], np.float32)
    batch = select(FeatureBased(), Candidates(ids=np.arange(3), embeddings=points), 3)
    assert batch.ids.tolist() == [0, 2, 1]
    np.testing.assert_allclose(batch.scores, np.log([8, 2, 14 / 8]))


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_each_pick_makes_the_function_largest(seed: int) -> None:
    points = np.random.default_rng(seed).gamma(0.5, size=(30, 6)).astype(np.float32)

    def gains(picks: list[int]) -> Doubles:
        sets = [[*picks, row] for row in range(30)]
        values = [np.log1p(points[rows].sum(axis=0, dtype=np.float64)).sum() for rows in sets]
        return np.array(values)

    pool = Candidates(ids=np.arange(30), embeddings=points)
    assert select(FeatureBased(), pool, 15).ids.tolist() == plainly.greedy(gains, 15)[0]


@pytest.mark.parametrize("concave", ["log1p", "sqrt", "inverse"])
def test_what_becomes_of_negative_values_matters_only_where_there_are_some(concave: str) -> None:
    pool = build_pool("spread")
    assert pool.embeddings is not None
    for points, agree in ((np.abs(pool.embeddings), True), (pool.embeddings, False)):
        batches = [
            select(
                FeatureBased.model_validate({"concave": concave, "negative": negative}),
                Candidates(ids=pool.ids, embeddings=points),
                20,
            ).scores.tolist()
            for negative in ("own_feature", "zero")
        ]
        assert (batches[0] == batches[1]) == agree


def test_the_sign_of_a_feature_does_not_matter_to_features_of_their_own() -> None:
    pool = build_pool("spread")
    assert pool.embeddings is not None
    flipped = Candidates(ids=pool.ids, embeddings=-pool.embeddings)
    expected = select(FeatureBased(), pool, 20).ids.tolist()
    assert select(FeatureBased(), flipped, 20).ids.tolist() == expected
