"""Falcun draws by doubt and by contrast with what was drawn before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import log_softmax
from pydantic import ValidationError

from strategies import Candidates
from strategies.base import Doubles
from strategies.falcun import Falcun, draw_contrasts


def plain(
    probs: Doubles, uniforms: Doubles, gamma: float, *, afresh: bool = False
) -> tuple[list[int], list[float], list[list[float]]]:
    """The law, one sample at a time: rows, u + d when drawn, and all u + d before each draw."""
    num = len(probs)
    top = [[*sorted(map(float, row), reverse=True), 0.0] for row in probs]
    doubt = [max(1 - (row[0] - row[1]), 0.0) for row in top]
    novelty = list(doubt)
    rows: list[int] = []
    scores: list[float] = []
    history: list[list[float]] = []
    for uniform in uniforms:
        seen = rescaled([novelty[i] for i in range(num) if i not in rows]) if afresh else novelty
        free = iter(seen) if afresh else None
        wanted = [
            0.0 if i in rows else doubt[i] + (novelty[i] if free is None else next(free))
            for i in range(num)
        ]
        history.append(wanted)
        largest = max(wanted)
        weights = [
            (wanted[i] / largest) ** gamma if largest > 0 else float(i not in rows)
            for i in range(num)
        ]
        target, running, row = uniform * np.cumsum(weights)[-1], 0.0, -1
        while running <= target:
            row += 1
            running += weights[row]
        rows.append(row)
        scores.append(wanted[row])
        for i in range(num):
            apart = sum(abs(float(a) - float(b)) for a, b in zip(probs[i], probs[row], strict=True))
            novelty[i] = min(novelty[i], apart)
        novelty = novelty if afresh else rescaled(novelty)
    return rows, scores, history


def rescaled(values: list[float]) -> list[float]:
    least, most = min(values), max(values)
    return [(d - least) / (most - least) if most > least else 0.0 for d in values]


def logs(probs: Doubles) -> Doubles:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probs), np.float64)


# u is 1, 0.4 and 0.8.
THREE = np.array([[0.5, 0.5, 0.0], [0.8, 0.2, 0.0], [0.6, 0.4, 0.0]])


def test_the_first_draw_is_in_proportion_to_a_power_of_doubt() -> None:
    # With gamma = 1 the weights are 1, 0.4 and 0.8 of 2.2, in the order of rows.
    edges = [1 / 2.2, 1.4 / 2.2]
    for uniform, row in (
        (0.0, 0),
        (edges[0] - 1e-9, 0),
        (edges[0] + 1e-9, 1),
        (edges[1] + 1e-9, 2),
    ):
        rows, scores = draw_contrasts(logs(THREE), np.array([uniform]), gamma=1.0)
        assert rows.tolist() == [row]
        np.testing.assert_allclose(scores, [[2.0, 0.8, 1.6][row]])


def test_the_second_draw_favours_what_is_unlike_the_first() -> None:
    # After row 0 the distances 0, 0.6 and 0.2 lower d to 0, 0.4 and 0.2, scaled to 0, 1 and 1/2:
    # u + d is 1.4 for row 1 and 1.3 for row 2.
    for uniform, row, wanted in ((1.4 / 2.7 - 1e-9, 1, 1.4), (1.4 / 2.7 + 1e-9, 2, 1.3)):
        rows, scores = draw_contrasts(logs(THREE), np.array([0.0, uniform]), gamma=1.0)
        assert rows.tolist() == [0, row]
        np.testing.assert_allclose(scores, [2.0, wanted])


def test_the_higher_the_power_the_surer_the_largest_is_drawn() -> None:
    rows, _ = draw_contrasts(logs(THREE), np.array([0.999, 0.9]), gamma=1e6)
    assert rows.tolist() == [0, 1]


def test_sure_samples_are_drawn_evenly() -> None:
    sure = np.eye(4)[[0, 1, 2, 3]]
    rows, scores = draw_contrasts(logs(sure), np.array([0.3, 0.7, 0.0, 0.0]))
    assert rows.tolist() == [1, 3, 0, 2]
    assert scores.tolist() == [0, 0, 0, 0]


def test_a_pick_is_never_drawn_again() -> None:
    same = np.full((3, 2), 0.5)
    rows, _ = draw_contrasts(logs(same), np.array([0.0, 0.0, 0.0]))
    assert rows.tolist() == [0, 1, 2]


def test_a_uniform_number_next_to_one_stays_inside() -> None:
    probs = np.exp(log_softmax(np.random.default_rng(0).standard_normal((500, 3))))
    rows, _ = draw_contrasts(logs(probs), np.full(40, np.nextafter(1.0, 0.0)))
    assert len(set(rows.tolist())) == 40
    assert int(rows.max()) < 500


def test_draws_as_often_as_the_weights_say() -> None:
    uniforms = np.random.default_rng(0).random((5_000, 1))
    drawn = [int(draw_contrasts(logs(THREE), u, gamma=2.0)[0][0]) for u in uniforms]
    expected = np.array([1.0, 0.16, 0.64]) / 1.8
    spread = np.sqrt(expected * (1 - expected) / len(drawn))
    assert (np.abs(np.bincount(drawn) / len(drawn) - expected) < 4.5 * spread).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_equals_the_plain_algorithm_on_random_pools(seed: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(2 * rng.standard_normal((60, 4)))
    uniforms = rng.random(60)
    rows, scores = draw_contrasts(log_probs, uniforms, gamma)
    expected, wanted, _ = plain(np.exp(log_probs), uniforms, gamma)
    assert rows.tolist() == expected
    np.testing.assert_allclose(scores, wanted, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_rescaling_afresh_equals_the_plain_algorithm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(2 * rng.standard_normal((40, 5)))
    uniforms = rng.random(40)
    rows, scores = draw_contrasts(log_probs, uniforms, 3.0, "afresh")
    expected, reached, _ = plain(np.exp(log_probs), uniforms, 3.0, afresh=True)
    assert rows.tolist() == expected
    np.testing.assert_allclose(scores, reached, rtol=1e-9)


def test_the_two_ways_of_rescaling_draw_differently() -> None:
    rng = np.random.default_rng(0)
    log_probs = log_softmax(2 * rng.standard_normal((200, 7)))
    uniforms = rng.random(50)
    carried, _ = draw_contrasts(log_probs, uniforms, 10.0, "carried")
    afresh, _ = draw_contrasts(log_probs, uniforms, 10.0, "afresh")
    assert carried.tolist() != afresh.tolist()


def test_equals_the_plain_algorithm(pool: Candidates) -> None:
    assert pool.log_probs is not None
    size = len(pool)
    batch = Falcun().select(pool, size, np.random.default_rng(3))
    probs = np.exp(pool.log_probs.astype(np.float64))
    rows, wanted, _ = plain(probs, np.random.default_rng(3).random(size), 10.0)
    assert batch.ids.tolist() == pool.ids[rows].tolist()
    np.testing.assert_allclose(batch.scores, wanted, atol=1e-6)


def test_a_power_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        Falcun(gamma=0)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 9), st.integers(1, 4)),
        elements=st.sampled_from([-800.0, -2.0, 0.0, 1.0, 700.0]),
    ),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=9, max_size=9),
)
def test_every_row_is_drawn_once_and_scores_lie_in_range(
    logits: Doubles, uniforms: list[float]
) -> None:
    rows, scores = draw_contrasts(log_softmax(logits), np.array(uniforms[: len(logits)]))
    assert sorted(rows.tolist()) == list(range(len(logits)))
    assert (scores >= 0).all()
    assert (scores <= 2).all()
