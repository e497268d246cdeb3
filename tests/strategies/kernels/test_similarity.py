from __future__ import annotations

import numpy as np
import plainly
import pytest
from pools import build_pool

from strategies import Candidates
from strategies.base import Doubles
from strategies.kernels import blocks
from strategies.kernels.similarity import (
    Similarity,
    gaussian,
    residual_directions,
)

CROSS = np.array([[2, 0], [0, 3], [-1, 0], [0, 0]], np.float32)


def whole(similarity: Similarity) -> Doubles:
    return similarity.columns(similarity.at(np.arange(len(similarity))))


def materialised(pool: Candidates) -> Doubles:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    residuals: Doubles = np.exp(pool.log_probs.astype(np.float64))
    residuals[np.arange(len(pool)), pool.log_probs.argmax(axis=1)] -= 1
    gradients: Doubles = np.einsum("nc,nd->ncd", residuals, pool.embeddings)
    return gradients.reshape(len(pool), -1)


def test_half_a_cosine_is_one_for_equals_a_half_at_a_right_angle_and_zero_for_opposites() -> None:
    expected = [[1, 0.5, 0, 0.5], [0.5, 1, 0.5, 0.5], [0, 0.5, 1, 0.5], [0.5, 0.5, 0.5, 0.5]]
    assert whole(Similarity.of_embeddings(CROSS)).tolist() == expected


def test_a_gaussian_falls_with_the_distance_of_unit_rows() -> None:
    table = whole(Similarity.of_embeddings(CROSS, shape=gaussian(0.5)))
    by_distance = np.array([[0, 2, 4, 1], [2, 0, 2, 1], [4, 2, 0, 1], [1, 1, 1, 0]])  # squared
    np.testing.assert_allclose(table, np.exp(-by_distance / 0.25), atol=1e-9)
    assert np.diag(table).tolist() == [1, 1, 1, 1]


def test_equals_the_table_written_down_plainly(pool: Candidates) -> None:
    assert pool.embeddings is not None
    embeddings = pool.embeddings
    table = whole(Similarity.of_embeddings(embeddings))
    assert table.tolist() == plainly.half_cosines(embeddings, embeddings).tolist()
    table = whole(Similarity.of_embeddings(embeddings, shape=gaussian(0.7)))
    expected = plainly.gaussians(embeddings, embeddings, 0.7)
    np.testing.assert_allclose(table, expected, atol=1e-7)


def test_gradients_are_compared_without_being_written_out() -> None:
    pool = build_pool("spread")
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    table = whole(Similarity.of_gradients(pool.log_probs, pool.embeddings))
    gradients = materialised(pool)
    np.testing.assert_allclose(table, plainly.half_cosines(gradients, gradients), atol=1e-7)


def test_rows_outside_the_pool_are_compared_alike() -> None:
    pool = build_pool("spread")
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    similarity = Similarity.of_gradients(pool.log_probs, pool.embeddings)
    outside = similarity.outside(pool.embeddings[:5], pool.log_probs[:5])
    inside = similarity.at(np.arange(5))
    assert similarity.columns(outside).tolist() == similarity.columns(inside).tolist()


def test_the_residual_of_a_saturated_row_keeps_its_direction() -> None:
    saturated = [0, -900, -900 - np.log(3)]
    log_probs = np.array([saturated, [0, -np.inf, -np.inf], [*np.log([0.5, 0.375, 0.125])]])
    expected = np.array([[-1, 0.75, 0.25], [0, 0, 0], [-1, 0.75, 0.25]])
    np.testing.assert_allclose(residual_directions(log_probs), expected, rtol=1e-12)


@pytest.mark.parametrize("space", ["embeddings", "gradients"])
def test_column_sums_agree_with_the_entries(pool: Candidates, space: str) -> None:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    similarity = (
        Similarity.of_embeddings(pool.embeddings)
        if space == "embeddings"
        else Similarity.of_gradients(pool.log_probs, pool.embeddings)
    )
    exact = whole(similarity).sum(axis=0)
    assert similarity.sums_of_entries().tolist() == exact.tolist()
    gaps = similarity.column_sums() - exact
    assert np.abs(gaps).max() <= similarity.column_sums_error
    assert np.abs(gaps).max() <= 1e-6


def test_a_row_is_itself_unless_it_has_no_direction() -> None:
    assert Similarity.of_embeddings(CROSS).own().tolist() == [1, 1, 1, 0.5]
    assert Similarity.of_embeddings(CROSS, shape=gaussian(2)).own().tolist() == [1, 1, 1, 1]


def test_the_nearest_of_nothing_is_zero() -> None:
    similarity = Similarity.of_embeddings(CROSS)
    assert similarity.nearest(similarity.outside(CROSS[:0])).tolist() == [0, 0, 0, 0]
    assert similarity.nearest(similarity.outside(CROSS[1:3])).tolist() == [0.5, 1, 1, 0.5]


def test_reduce_adds_up_over_all_rows() -> None:
    points = np.random.default_rng(0).standard_normal((3000, 4)).astype(np.float32)
    similarity = Similarity.of_embeddings(points)
    columns = similarity.at(np.array([5, 2999]))
    sums = similarity.reduce(columns, lambda table, _: table.sum(axis=0))
    assert sums.tolist() == similarity.columns(columns).sum(axis=0).tolist()


@pytest.mark.parametrize("block_rows", [7, 64])
def test_blocks_and_threads_change_nothing(
    block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((300, 5)).astype(np.float16)
    log_probs = np.log(rng.dirichlet(np.ones(3), 300)).astype(np.float32)

    def numbers(threads: int) -> list[list[float]]:
        similarity = Similarity.of_gradients(log_probs, points, threads=threads)
        few = similarity.at(np.arange(0, 300, 40))
        found = (similarity.columns(few).ravel(), similarity.column_sums(), similarity.own())
        return [array.tolist() for array in (*found, similarity.nearest(few))]

    expected = numbers(1)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    assert numbers(1) == expected
    assert numbers(7) == expected


def test_equal_rows_have_equal_entries_and_sums() -> None:
    points = np.random.default_rng(2).standard_normal((7, 33)).astype(np.float32)
    similarity = Similarity.of_embeddings(points[np.arange(2100) % 7])
    few = similarity.at(np.arange(7))
    assert len(np.unique(similarity.columns(few), axis=0)) == 7
    assert len(np.unique(similarity.column_sums())) == 7
