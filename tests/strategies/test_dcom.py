from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool, log_softmax

from strategies import Candidates, MarginSampling, Selection
from strategies.base import Doubles, Floats, Rows
from strategies.dcom import DCoM, pure_balls
from strategies.kernels.radius import unit_rows
from strategies.prob_cover import ProbCover
from strategies.scores import margin


def on_circle(degrees: list[float]) -> Floats:
    angles = np.deg2rad(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def chord(degrees: float) -> float:
    return float(2 * np.sin(np.deg2rad(degrees) / 2))


def angle(squares: Doubles) -> Doubles:
    """Degrees between unit vectors at these squared distances."""
    degrees: Doubles = np.rad2deg(2 * np.arcsin(np.sqrt(squares) / 2))
    return degrees


def log_probs_of(logits: Doubles) -> Floats:
    return log_softmax(logits).astype(np.float32)


def ask(strategy: DCoM, pool: Candidates, batch_size: int) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(0))


def balls(
    degrees: list[float], guesses: list[int], threshold: float, most: float = 90.0
) -> tuple[Doubles, list[bool]]:
    """The ball around one labelled sample of class 1 at 0 degrees: its angle, what it covers."""
    labels = np.array([*guesses, 1])
    squares, covered = pure_balls(
        on_circle(degrees), on_circle([0]), labels, threshold, chord(most)
    )
    return angle(squares), covered.tolist()


def test_a_ball_ends_before_the_sample_that_makes_it_impure() -> None:
    # Of the centre, 10 and 20 degrees all are of class 1; with 30 it is 3 of 4, with 40 3 of 5.
    angles, covered = balls([10, 20, 30, 40], [1, 1, 0, 0], threshold=0.7)
    np.testing.assert_allclose(angles, [40], rtol=1e-6)
    assert covered == [True, True, True, False]


def test_a_ball_may_grow_past_a_stretch_that_is_not_pure() -> None:
    # Shares after each: 1/2, 1/3, 2/4, 3/5, 4/6, then 4/7 with the sample at 80 degrees.
    angles, covered = balls([10, 20, 30, 40, 50, 80], [0, 0, 1, 1, 1, 0], threshold=0.6)
    np.testing.assert_allclose(angles, [80], rtol=1e-6)
    assert covered == [True] * 5 + [False]


def test_a_ball_stops_at_the_largest_radius() -> None:
    angles, covered = balls([10, 20, 30], [1, 1, 1], threshold=0.5, most=25)
    np.testing.assert_allclose(angles, [25], rtol=1e-6)
    assert covered == [True, True, False]


def test_samples_at_one_distance_enter_a_ball_together() -> None:
    # The row at 20 degrees stands there twice, once of each class: both or none.
    angles, covered = balls([20, 20, 40], [1, 0, 0], threshold=0.7)
    np.testing.assert_allclose(angles, [20], rtol=1e-6)
    assert covered == [False, False, False]


def test_a_ball_holds_the_twins_of_its_centre_whatever_they_are() -> None:
    angles, covered = balls([0, 0, 15, 30], [0, 0, 0, 0], threshold=0.9)
    np.testing.assert_allclose(angles, [15], rtol=1e-6)
    assert covered == [True, True, False, False]


def squares_between(left: Doubles, right: Doubles) -> Doubles:
    gaps = (left[:, None] - right).reshape(-1, left.shape[1])
    squares: Doubles = np.einsum("nd,nd->n", gaps, gaps).reshape(len(left), len(right))
    return squares


def plain_radius(squares: Doubles, is_same: Rows, threshold: float, most: float) -> float:
    """The largest radius whose open ball is pure enough, trying all; twins are at distance 0."""
    distances = np.sqrt(np.where(squares < 1e-14, 0.0, squares))
    radii = sorted({*distances[(distances > 0) & (distances < most)].tolist(), most})
    pure = [r for r in radii if is_same[distances < r].mean() >= threshold]
    return float(max(pure, default=radii[0]))


def scaled(values: Doubles, left: list[int]) -> Doubles:
    least, most = values[left].min(), values[left].max()
    return (values - least) / (most - least) if most > least else np.zeros_like(values)


def plain_dcom(pool: Candidates, strategy: DCoM, delta: float) -> tuple[list[int], float]:
    """The law written down plainly, with something labelled: rows, and the competence."""
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    assert pool.labelled_labels is not None
    assert pool.log_probs is not None
    num, most = len(pool), strategy.delta_max or min(2 * delta, 2.0)
    points, labelled = unit_rows(pool.embeddings), unit_rows(pool.labelled_embeddings)
    every = np.concatenate([points, labelled])
    guesses = np.concatenate([pool.log_probs.argmax(axis=1), pool.labelled_labels])
    squares = squares_between(labelled, every)
    threshold = 0.2 * (squares < delta**2).any(axis=0).mean() + 0.4
    radii = np.array(
        [
            plain_radius(row, guesses == label, threshold, most)
            for row, label in zip(squares, pool.labelled_labels, strict=True)
        ]
    )
    # A neighbour at the radius itself is outside, by however little the root was rounded.
    covered = np.asarray((squares < (radii**2)[:, None] * (1 - 1e-12)).any(axis=0))
    steep, middle, coverage = strategy.steepness, strategy.midpoint, covered.mean()
    competence = (1 + np.exp(-steep * (1 - middle))) / (1 + np.exp(-steep * (coverage - middle)))
    near = squares_between(points, points) < radii.mean() ** 2
    is_open, doubts, rows = ~covered[:num], 1 - margin(pool.log_probs), list[int]()
    while len(rows) < num:
        left = [row for row in range(num) if row not in rows]
        density = (near & is_open).sum(axis=1).astype(np.float64)
        scores = competence * scaled(doubts, left) + (1 - competence) * scaled(density, left)
        rows.append(max(left, key=lambda row: (scores[row], -row)))
        is_open &= ~near[rows[-1]]
    return rows, float(competence)


@pytest.mark.parametrize("delta", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("steepness", [1.0, 10.0, 50.0])
@pytest.mark.parametrize("kind", ["spread", "impossible_classes", "one_class", "saturated"])
def test_equals_the_plain_algorithm(kind: str, delta: float, steepness: float) -> None:
    pool, strategy = build_pool(kind), DCoM(delta=delta, steepness=steepness)
    batch = ask(strategy, pool, len(pool))
    rows, competence = plain_dcom(pool, strategy, delta)
    assert batch.notes["competence"] == pytest.approx(competence)
    assert (batch.ids - pool.ids[0]).tolist() == rows


def small_pool(labels: list[int], embeddings: Floats, labelled: Floats) -> Candidates:
    """Candidates sure of class 1, and a little surer the later they come."""
    num = len(embeddings)
    logits = np.column_stack([np.zeros(num), 2 + 0.1 * np.arange(num)])
    return Candidates(
        ids=np.arange(num),
        embeddings=embeddings,
        log_probs=log_probs_of(logits),
        labelled_embeddings=labelled,
        labelled_labels=np.array(labels, np.int64),
    )


def test_competence_by_hand() -> None:
    # The ball takes in 10 and 20 degrees and ends at the largest radius, so 3 of 5 are covered.
    pool = small_pool([1], on_circle([10, 20, 50, 60]), on_circle([0]))
    strategy = DCoM(delta=chord(15), delta_max=chord(31), steepness=2, midpoint=0.5)
    batch = ask(strategy, pool, 2)
    competence = float((1 + np.exp(-1)) / (1 + np.exp(-0.2)))  # about 3/4
    assert batch.notes["competence"] == pytest.approx(competence)
    assert batch.notes["coverage"] == pytest.approx(0.6)
    assert batch.notes["delta"] == pytest.approx(chord(31), rel=1e-6)
    # 10 degrees is the least sure, with nothing left to cover: k * 1 + (1 - k) * 0. Then the same
    # holds for 20 degrees, which has one uncovered neighbour where the others have two.
    assert batch.ids.tolist() == [0, 1]
    np.testing.assert_allclose(batch.scores, [competence, competence])


def test_without_competence_density_decides() -> None:
    pool = small_pool([1], on_circle([10, 20, 50, 60]), on_circle([0]))
    strategy = DCoM(delta=chord(15), delta_max=chord(31), steepness=50, midpoint=1.0)
    # 50 and 60 degrees have two uncovered neighbours, and 50 is the less sure.
    assert ask(strategy, pool, 1).ids.tolist() == [2]


def test_full_coverage_makes_it_margin_sampling() -> None:
    pool = build_pool("spread", num=200)
    logits = np.random.default_rng(0).standard_normal((200, 4)) + np.array([9, 0, 0, 0])
    sure_of_the_first = replace(
        pool, labelled_labels=np.zeros(5, np.int64), log_probs=log_probs_of(logits)
    )
    batch = ask(DCoM(delta=1.9, delta_max=2.1), sure_of_the_first, 200)
    assert batch.notes["competence"] == 1.0
    by_margin = MarginSampling().select(sure_of_the_first, 200, np.random.default_rng(0))
    assert batch.ids.tolist() == by_margin.ids.tolist()


@pytest.mark.parametrize("fallback", ["coreset", "random"])
@pytest.mark.parametrize("delta", [None, 0.5, 1.2])
def test_with_nothing_labelled_it_is_prob_cover(delta: float | None, fallback: str) -> None:
    pool, fields = build_pool("nothing_labelled"), {"delta": delta, "fallback": fallback}
    batch = ask(DCoM.model_validate(fields), pool, len(pool))
    expected = ProbCover.model_validate(fields).select(pool, len(pool), np.random.default_rng(0))
    assert batch.ids.tolist() == expected.ids.tolist()
    assert batch.notes["competence"] == 0
    np.testing.assert_array_equal(batch.maps["stands_for"], expected.maps["stands_for"])


def test_the_order_of_labelled_samples_does_not_matter() -> None:
    pool = build_pool("spread")
    assert pool.labelled_embeddings is not None
    assert pool.labelled_labels is not None
    turned = replace(
        pool,
        labelled_ids=None,
        labelled_log_probs=None,
        labelled_embeddings=pool.labelled_embeddings[::-1],
        labelled_labels=pool.labelled_labels[::-1],
    )
    straight = ask(DCoM(delta=0.7), pool, 30)
    assert ask(DCoM(delta=0.7), turned, 30).ids.tolist() == straight.ids.tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 9), st.floats(0.05, 2.2))
def test_a_batch_is_a_permutation_scored_between_zero_and_one(
    seed: int, num: int, num_labelled: int, delta: float
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(-1, 2, (num + num_labelled, 3)).astype(np.float32)
    pool = Candidates(
        ids=np.arange(num),
        embeddings=points[:num],
        log_probs=log_probs_of(30.0 * rng.integers(-1, 2, (num, 3)).astype(np.float64)),
        labelled_embeddings=points[num:],
        labelled_labels=rng.integers(0, 3, num_labelled),
    )
    batch = ask(DCoM(delta=delta), pool, num)
    assert sorted(batch.ids.tolist()) == list(range(num))
    assert ((batch.scores >= 0) & (batch.scores <= 1)).all()
    assert 0 <= float(str(batch.notes["competence"])) <= 1
