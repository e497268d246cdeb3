from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from information import (
    SetFunction,
    World,
    assert_is_greedy,
    conditional,
    conditional_mutual,
    greedy,
    log_det,
    mutual,
)

from strategies import Candidates
from strategies.base import Doubles, Rows
from strategies.kernels import blocks
from strategies.kernels.cholesky import (
    Heights,
    directions_of,
    features,
    log_det_greedy,
    log_det_ratio_greedy,
    on_direction_grid,
)
from strategies.kernels.lazy import Greedy
from strategies.kernels.similarity import Directions, Similarity

SPACES = ["embeddings", "gradients"]
RIDGES = [1.0, 0.1, 1e-4]


class Case:
    """A pool, some samples asked about and some known, and the dense truth about them."""

    def __init__(self, space: str, *, num: int = 30, width: int = 5, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        points = rng.standard_normal((num + 10, width))
        log_probs = np.log(rng.dirichlet(np.ones(3), num + 10))
        cuts = [num, num + 4]
        pool, asked, known = np.split(points, cuts)
        of_pool, of_asked, of_known = np.split(log_probs, cuts)
        if space == "embeddings":
            self.similarity = Similarity.of_embeddings(pool)
            self.asked, self.known = map(self.similarity.outside, (asked, known))
        else:
            self.similarity = Similarity.of_gradients(of_pool, pool)
            self.asked = self.similarity.outside(asked, of_asked)
            self.known = self.similarity.outside(known, of_known)
        everyone = [self.similarity.at(np.arange(num)), self.asked, self.known]
        rows = np.concatenate([features(part) for part in everyone])
        members = list(range(num + 10))
        self.world = World(rows @ rows.T / 2, num, members[num : num + 4], members[num + 4 :])


def test_orthogonal_rows_have_the_heights_of_their_matrix() -> None:
    # Similarities are 1 on the diagonal and 1/2 off it. With a ridge of 1/2, det of the matrix of
    # k rows is 1 * (1 + k/2): what the k-th adds is log((2 + k) / (1 + k)).
    found = log_det_greedy(Similarity.of_embeddings(np.eye(4)), 4, ridge=0.5)
    assert found.rows.tolist() == [0, 1, 2, 3]
    expected = [np.log((2 + k) / (1 + k)) for k in range(1, 5)]
    np.testing.assert_allclose(found.gains, expected, rtol=1e-12)


def test_the_opposite_direction_is_picked_before_a_near_one() -> None:
    points = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]])
    found = log_det_greedy(Similarity.of_embeddings(points), 4, ridge=0.01)
    assert found.rows.tolist() == [0, 3, 2, 1]


def test_what_is_known_already_adds_no_more_than_the_ridge_lets_it() -> None:
    points = np.array([[1.0, 0], [0, 1], [-1, 0]])
    similarity = Similarity.of_embeddings(points)
    known = directions_of(similarity.outside(points[[0, 1]]), ridge=1e-3)
    found = log_det_greedy(similarity, 3, ridge=1e-3, known=known)
    assert found.rows.tolist() == [2, 0, 1]


def test_a_query_is_what_tells_most_about_itself() -> None:
    points = np.array([[1.0, 0], [0, 1], [-1, 0], [0.6, 0.8]])
    similarity = Similarity.of_embeddings(points)
    asked = directions_of(similarity.outside(points[[2]]), ridge=0.5)
    found = log_det_ratio_greedy(similarity, 4, ridge=0.5, asked=asked)
    # K is 1 between the two, so what the first tells is log(d^2 / (d^2 - 1/d^2)), d^2 = 3/2.
    assert found.rows[0] == 2
    np.testing.assert_allclose(found.gains[0], np.log(1.5 / (1.5 - 1 / 1.5)))


def run(name: str, case: Case, count: int, ridge: float) -> tuple[Greedy, SetFunction]:
    """A kernel's picks, and the set function they are to be greedy for."""
    f, world = log_det(case.world, ridge), case.world
    if name == "plain":
        return log_det_greedy(case.similarity, count, ridge=ridge), f
    known = directions_of(case.known, ridge=ridge)
    if name == "conditional":
        found = log_det_greedy(case.similarity, count, ridge=ridge, known=known)
        return found, conditional(f, world)
    if name == "mutual":
        asked = directions_of(case.asked, ridge=ridge)
        found = log_det_ratio_greedy(case.similarity, count, ridge=ridge, asked=asked)
        return found, mutual(f, world)
    asked = directions_of(case.asked, ridge=ridge, known=known)
    found = log_det_ratio_greedy(case.similarity, count, ridge=ridge, known=known, asked=asked)
    return found, conditional_mutual(f, world)


NAMES = ["plain", "conditional", "mutual", "conditional mutual"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("ridge", RIDGES)
def test_equals_the_definition_by_dense_determinants(name: str, space: str, ridge: float) -> None:
    case = Case(space)
    found, f = run(name, case, 12, ridge)
    rows, gains = greedy(f, case.world.num, 12)
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(found.gains, gains, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(NAMES), st.sampled_from(SPACES))
def test_every_pick_adds_most(seed: int, name: str, space: str) -> None:
    case = Case(space, num=8, width=3, seed=seed)
    found, f = run(name, case, 8, 0.3)
    assert_is_greedy(f, 8, found.rows, found.gains)


def test_each_pool_is_picked_from_as_the_definition_says(pool: Candidates) -> None:
    assert pool.embeddings is not None
    similarity = Similarity.of_embeddings(pool.embeddings)
    rows = features(similarity.at(np.arange(len(pool))))
    f = log_det(World(rows @ rows.T / 2, len(pool), [], []), 1.0)
    found = log_det_greedy(similarity, min(9, len(pool)), ridge=1.0)
    assert_is_greedy(f, len(pool), found.rows, found.gains)


def plain_directions(rows: Doubles, ridge: float) -> Doubles:
    """Φᵀ (Φ Φᵀ + 2λI)⁻¹ Φ: what any choice of directions must have for their products."""
    inverse = np.linalg.inv(rows @ rows.T + 2 * ridge * np.eye(len(rows)))
    products: Doubles = rows.T @ inverse @ rows
    return products


@pytest.mark.parametrize("num", [3, 6, 40, 700, 1300])
def test_many_samples_are_known_by_few_directions(num: int) -> None:
    points = np.random.default_rng(1).standard_normal((num, 5))
    similarity = Similarity.of_embeddings(points)
    samples = similarity.at(np.arange(num))
    directions = directions_of(samples, ridge=0.5)
    assert len(directions) == min(num, 6)
    expected = plain_directions(features(samples), 0.5)
    np.testing.assert_allclose(directions.T @ directions, expected, atol=1e-11)


def test_what_is_asked_beyond_what_is_known_adds_up() -> None:
    case = Case("gradients")
    known = directions_of(case.known, ridge=0.2)
    asked = directions_of(case.asked, ridge=0.2, known=known)
    rows = np.concatenate((features(case.known), features(case.asked)))
    expected = plain_directions(rows, 0.2)
    np.testing.assert_allclose(known.T @ known + asked.T @ asked, expected, atol=1e-11)


def test_no_samples_have_no_directions() -> None:
    similarity = Similarity.of_embeddings(np.eye(3))
    nothing = directions_of(similarity.outside(np.empty((0, 3))), ridge=1.0)
    assert nothing.shape == (0, 4)
    plain = log_det_greedy(similarity, 3, ridge=1.0)
    found = log_det_greedy(similarity, 3, ridge=1.0, known=nothing)
    assert found.rows.tolist() == plain.rows.tolist()
    assert found.gains.tolist() == plain.gains.tolist()


@pytest.mark.parametrize("space", SPACES)
def test_equal_rows_tie_whenever_they_are_brought_up_to_date(space: str) -> None:
    case = Case(space, num=400, width=40)
    twins = [3, 200, 399]
    parts = [case.similarity.at(np.arange(400)) for _ in range(2)]
    points = parts[0].factors[-1].values.copy()
    points[twins] = points[3]
    similarity = Similarity.of_embeddings(points)
    if space == "gradients":
        residuals = parts[0].factors[0].values.copy()
        residuals[twins] = residuals[3]
        whole = Similarity.of_embeddings(residuals)
        similarity = Similarity((whole.factors[0], similarity.factors[0]), similarity.shape)
    heights = Heights(similarity, 30, ridge=0.1)
    for row in range(10, 40):
        heights.at(np.array([row]))
        heights.take(row)
        if row % 7 == 0:
            heights.at(np.array([200, 50, 51]))
        if row % 3 == 0:
            heights.at(np.arange(390, 400))
    assert len(set(heights.at(np.array(twins)).tolist())) == 1


def test_products_with_directions_do_not_round_in_any_order() -> None:
    rng = np.random.default_rng(3)
    rows = Similarity.of_embeddings(rng.standard_normal((50, 512))).at(np.arange(50))
    values = rows.factors[0].values
    direction = rng.standard_normal(512)
    direction = on_direction_grid(direction / np.linalg.norm(direction))
    high = np.rint(direction * 2**26) / 2**26
    orders = [rng.permutation(512) for _ in range(5)]
    for part in (high, direction - high):
        sums = [np.cumsum(values[:, order] * part[order], axis=1)[:, -1] for order in orders]
        assert all(other.tolist() == sums[0].tolist() for other in sums[1:])


@pytest.mark.parametrize("space", SPACES)
def test_all_directions_are_on_their_grid(space: str) -> None:
    case = Case(space, width=40)
    known = directions_of(case.known, ridge=0.3)
    heights = Heights(case.similarity, 3, ridge=0.3, known=known)
    for row in (4, 0, 9):
        heights.at(np.array([row]))
        heights.take(row)
        assert heights.newest.tolist() == on_direction_grid(heights.newest).tolist()
    assert np.abs(known - on_direction_grid(known)).max() < 2**-46


def heights_after(similarity: Similarity, picks: Rows, block_rows: int) -> Doubles:
    heights = Heights(similarity, len(picks), ridge=1.0)
    for pick in picks.tolist():
        heights.at(np.array([pick]))
        heights.take(pick)
    return np.concatenate(
        [heights.at(np.arange(k, min(k + block_rows, 90))) for k in range(0, 90, block_rows)]
    )


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("width", [5, 300])
def test_how_many_picks_are_made_up_for_at_a_time_changes_no_bit(space: str, width: int) -> None:
    similarity = Case(space, num=90, width=width).similarity
    picks = np.arange(0, 60, 3)
    whole = heights_after(similarity, picks, 90)
    for size in (1, 7, 64):
        assert heights_after(similarity, picks, size).tolist() == whole.tolist()


@pytest.mark.parametrize("block_rows", [16, 4096])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("space", SPACES)
def test_blocks_and_threads_change_nothing(
    name: str, space: str, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(name, Case(space, num=300), 25, 1.0)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(blocks, "_default_threads", lambda: 3)
    found, _ = run(name, Case(space, num=300), 25, 1.0)
    assert found.rows.tolist() == whole.rows.tolist()
    assert found.gains.tolist() == whole.gains.tolist()


def test_a_smallest_ridge_keeps_heights_of_copies_positive() -> None:
    points = np.repeat(np.eye(3), 20, axis=0)
    found = log_det_greedy(Similarity.of_embeddings(points), 60, ridge=1e-6)
    assert found.rows[:3].tolist() == [0, 20, 40]
    assert np.isfinite(found.gains).all()
    assert sorted(found.rows.tolist()) == list(range(60))


def test_features_of_gradients_are_outer_products() -> None:
    similarity = Similarity.of_gradients(np.log([[0.5, 0.25, 0.25]]), np.array([[3.0, 4.0]]))
    points: Directions = similarity.at(np.arange(1))
    residual = np.array([-2, 1, 1]) / np.sqrt(6)
    expected = [*np.outer(residual, [0.6, 0.8]).ravel(), 1.0]
    np.testing.assert_allclose(features(points)[0], expected, atol=1e-7)
