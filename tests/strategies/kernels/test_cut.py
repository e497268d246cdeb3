from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plainly import greedy

from strategies import Candidates
from strategies.base import Doubles
from strategies.kernels import cut as kernels_cut
from strategies.kernels.cut import cut
from strategies.kernels.similarity import Similarity


def plain(similarity: Similarity, count: int, trade_off: float) -> tuple[list[int], list[float]]:
    """All gains before each pick; only the sums over the pool are taken over."""
    table = similarity.columns(similarity.at(np.arange(len(similarity))))
    sums = similarity.column_sums()
    np.testing.assert_allclose(sums, table.sum(axis=0), atol=1e-6)

    def gains(picks: list[int]) -> Doubles:
        shared = 2 * table[:, picks].sum(axis=1) + np.diag(table)
        result: Doubles = sums - trade_off * shared
        return result

    return greedy(gains, count)


def test_likeness_to_the_pool_less_likeness_within_the_batch() -> None:
    points = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    # Sums over the pool: 2.5, 2.5, 2.5, 1.5. Then twice the likeness to the first pick goes off.
    result = cut(Similarity.of_embeddings(points), 4, 0.25)
    assert result.rows.tolist() == [0, 2, 1, 3]
    assert result.gains.tolist() == [2.25, 2.0, 1.5, 1.0]


def test_without_a_trade_off_the_nearest_to_the_mean_are_picked() -> None:
    points = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    along = unit @ unit.sum(axis=0)
    result = cut(Similarity.of_embeddings(points), 50, 0.0)
    assert result.rows.tolist() == np.argsort(-along).tolist()


@pytest.mark.parametrize("trade_off", [0.4, 5.0, 300.0])
@pytest.mark.parametrize("space", ["embeddings", "gradients"])
def test_equals_the_plain_algorithm(pool: Candidates, space: str, trade_off: float) -> None:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    similarity = (
        Similarity.of_embeddings(pool.embeddings)
        if space == "embeddings"
        else Similarity.of_gradients(pool.log_probs, pool.embeddings)
    )
    result = cut(similarity, len(pool), trade_off)
    rows, gains = plain(similarity, len(pool), trade_off)
    assert result.rows.tolist() == rows
    assert result.gains.tolist() == gains


@given(seed=st.integers(0, 10**6), num=st.integers(1, 200))
@settings(deadline=None, max_examples=40)
def test_equal_rows_tie_exactly(seed: int, num: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((num, 9)).astype(np.float32)[rng.integers(0, num // 3 + 1, num)]
    similarity = Similarity.of_embeddings(points)
    trade_off = float(rng.random() * num)
    count = int(rng.integers(1, num + 1))
    assert cut(similarity, count, trade_off).rows.tolist() == plain(similarity, count, trade_off)[0]


@pytest.mark.parametrize("many", [1, 8])
def test_bringing_all_rows_up_to_date_changes_nothing(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(1).standard_normal((120, 3)).astype(np.float32)
    similarity = Similarity.of_embeddings(points)
    expected = cut(similarity, 80, 30.0)
    monkeypatch.setattr(kernels_cut, "_MANY", many)
    result = cut(similarity, 80, 30.0)
    assert result.rows.tolist() == expected.rows.tolist()
    assert result.gains.tolist() == expected.gains.tolist()
