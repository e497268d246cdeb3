"""BatchBALD against joint entropies written out in full."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import build_pool, log_softmax

from strategies import Candidates, StrategyError
from strategies.bald import BALD
from strategies.base import Doubles
from strategies.batchbald import BatchBALD


def pool_of(draws: Doubles) -> Candidates:
    """A pool of these class probabilities, (N, K, C)."""
    with np.errstate(divide="ignore"):
        return Candidates(ids=np.arange(len(draws)), mc_log_probs=np.log(draws))


def random_draws(seed: int, num: int, draws: int, classes: int) -> Doubles:
    logits = 2 * np.random.default_rng(seed).standard_normal((num * draws, classes))
    return np.exp(log_softmax(logits)).reshape(num, draws, classes)


def ask(strategy: BatchBALD, pool: Candidates, size: int, seed: int = 0) -> list[int]:
    return [int(i) for i in strategy.select(pool, size, np.random.default_rng(seed)).ids]


def joint_information(draws: Doubles, rows: list[int]) -> float:
    """I(y_S; draw), from the probability of every labelling of S."""
    num_draws, classes = draws.shape[1:]
    total = 0.0
    for labels in itertools.product(range(classes), repeat=len(rows)):
        likelihoods = np.ones(num_draws)
        for row, label in zip(rows, labels, strict=True):
            likelihoods = likelihoods * draws[row, :, label]
        mean = likelihoods.mean()
        parts = [float(p * np.log(p / mean)) for p in likelihoods if p > 0]
        total += sum(parts) / num_draws
    return total


def plain(draws: Doubles, count: int) -> tuple[list[int], list[float]]:
    """Greedy by joint information in full; ties, up to what rounding does, by row."""
    rows: list[int] = []
    gains: list[float] = []
    for _ in range(count):
        before = joint_information(draws, rows)
        left = [row for row in range(len(draws)) if row not in rows]
        told = [joint_information(draws, [*rows, row]) - before for row in left]
        best = int(np.argmax(np.round(told, 9)))
        rows.append(left[best])
        gains.append(told[best])
    return rows, gains


def sampled_plain(
    draws: Doubles, count: int, most: int, rng: np.random.Generator
) -> tuple[list[int], list[float]]:
    """The law with sampled labellings, one at a time: what they say is worked out from scratch."""
    num, num_draws, classes = draws.shape
    labellings: list[tuple[list[int], float]] = [([], 1.0)]
    rows: list[int] = []
    gains: list[float] = []

    def posterior(labels: list[int]) -> Doubles:
        likelihoods = np.ones(num_draws)
        for row, label in zip(rows, labels, strict=True):
            likelihoods = likelihoods * draws[row, :, label]
        return np.asarray(likelihoods / likelihoods.sum(), np.float64)

    def told(row: int, share: Doubles) -> float:
        mean = share @ draws[row]
        terms = draws[row] * np.log(draws[row] / mean)
        return float(share @ terms.sum(axis=1))

    for _ in range(count):
        weighed = [(posterior(labels), weight) for labels, weight in labellings]
        left = [row for row in range(num) if row not in rows]
        scores = [sum(w * told(row, share) for share, w in weighed) for row in left]
        best = int(np.argmax(scores))
        gains.append(scores[best])
        longer = [
            ([*labels, label], weight * float(share @ draws[left[best], :, label]))
            for (labels, _), (share, weight) in zip(labellings, weighed, strict=True)
            for label in range(classes)
        ]
        rows.append(left[best])
        if len(rows) == count:
            break
        if len(longer) > most:
            places = (np.arange(most) + rng.random()) / most
            running = np.cumsum([weight for _, weight in longer])
            drawn = [int(np.flatnonzero(running > place)[0]) for place in places]
            longer = [(longer[k][0], drawn.count(k) / most) for k in sorted({*drawn})]
        labellings = longer
    return rows, gains


def test_a_copy_of_a_pick_tells_less_than_a_lesser_stranger() -> None:
    # Four draws: a and its copy split them in halves, c splits them the other way, less surely.
    sure, other = [[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2, [[0.9, 0.1], [0.1, 0.9]] * 2
    pool = pool_of(np.array([sure, sure, other]))
    assert BALD().select(pool, 2, np.random.default_rng(0)).ids.tolist() == [0, 1]
    batch = BatchBALD().select(pool, 3, np.random.default_rng(0))
    assert batch.ids.tolist() == [0, 2, 1]
    binary = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    np.testing.assert_allclose(batch.scores, [np.log(2), np.log(2) - binary, 0], atol=1e-7)


def test_one_sample_is_that_of_bald(pool: Candidates) -> None:
    one = BatchBALD().select(pool, 1, np.random.default_rng(0))
    bald = BALD().select(pool, 1, np.random.default_rng(0))
    assert one.ids.tolist() == bald.ids.tolist()
    assert one.scores.tolist() == bald.scores.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_equals_joint_entropies_in_full_on_random_pools(seed: int) -> None:
    draws = random_draws(seed, 40, 8, 3)
    batch = BatchBALD().select(pool_of(draws), 4, np.random.default_rng(0))
    rows, gains = plain(draws, 4)
    assert batch.ids.tolist() == rows
    np.testing.assert_allclose(batch.scores, gains, atol=1e-6)
    assert batch.notes == {"approximate": False}


@pytest.mark.parametrize(
    "kind", ["spread", "duplicates", "all_equal", "one_class", "saturated", "impossible_classes"]
)
def test_equals_joint_entropies_in_full(kind: str) -> None:
    pool = build_pool(kind, num=20)
    assert pool.mc_log_probs is not None
    rows, gains = plain(np.exp(pool.mc_log_probs.astype(np.float64)), 3)
    batch = BatchBALD().select(pool, 3, np.random.default_rng(0))
    assert batch.ids.tolist() == pool.ids[rows].tolist()
    np.testing.assert_allclose(batch.scores, gains, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equals_sampled_labellings_weighed_one_by_one(seed: int) -> None:
    draws = random_draws(seed, 25, 6, 3)
    strategy = BatchBALD(max_configurations=20)
    batch = strategy.select(pool_of(draws), 8, np.random.default_rng(seed))
    rows, gains = sampled_plain(draws, 8, 20, np.random.default_rng(seed))
    assert batch.ids.tolist() == rows
    np.testing.assert_allclose(batch.scores, gains, atol=1e-6)


def test_the_notes_say_from_which_pick_on_labellings_were_sampled() -> None:
    pool = pool_of(random_draws(0, 30, 8, 3))
    strategy = BatchBALD(max_configurations=9)
    exact = strategy.select(pool, 3, np.random.default_rng(0))
    assert exact.notes == {"approximate": False}
    longer = strategy.select(pool, 5, np.random.default_rng(0))
    assert longer.notes == {"approximate": True, "approximate_from_pick": 4}


def test_an_exact_batch_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    BatchBALD().select(pool_of(random_draws(0, 30, 8, 3)), 5, rng)
    assert rng.bit_generator.state == before


def test_labellings_that_cannot_happen_do_not_count() -> None:
    # Every sample is certain under each draw: as many labellings as draws, not classes to the B.
    rng = np.random.default_rng(0)
    draws = np.eye(5)[rng.integers(0, 5, (30, 6))]
    batch = BatchBALD(max_configurations=6).select(pool_of(draws), 30, rng)
    assert batch.notes == {"approximate": False}
    # Together they tell the draw, and no more.
    assert batch.scores.sum() == pytest.approx(np.log(6), abs=1e-6)


@pytest.mark.parametrize("look", [1, 7, 1024])
def test_samples_that_tell_nothing_more_go_by_id(
    look: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strategies.kernels.joint._FIRST_LOOK", look)
    pool = pool_of(np.eye(5)[np.random.default_rng(0).integers(0, 5, (30, 6))])
    batch = BatchBALD().select(pool, 30, np.random.default_rng(0))
    rest = batch.ids[batch.scores == 0].tolist()
    assert len(rest) > 20
    assert rest == sorted(rest)


def test_the_batch_never_tells_more_than_the_draws_hold() -> None:
    batch = BatchBALD().select(pool_of(random_draws(1, 60, 4, 4)), 60, np.random.default_rng(0))
    assert 0.9 * np.log(4) < batch.scores.sum() < 1.02 * np.log(4)


def test_many_sampled_labellings_come_near_all_of_them() -> None:
    pool = pool_of(random_draws(2, 40, 10, 3))
    exact = BatchBALD(max_configurations=3**6).select(pool, 7, np.random.default_rng(0))
    near = BatchBALD(max_configurations=3**5).select(pool, 7, np.random.default_rng(0))
    assert exact.ids[:6].tolist() == near.ids[:6].tolist()
    assert near.scores[6] == pytest.approx(exact.scores[6], abs=0.01)


def test_twins_tie_and_the_smaller_id_goes_first() -> None:
    some = random_draws(3, 300, 7, 3)
    both = np.concatenate([some, some])
    rows = ask(BatchBALD(), pool_of(both), 12)
    for twin in (row for row in rows if row >= 300):
        assert twin - 300 in rows[: rows.index(twin)]


@pytest.mark.parametrize("cells", [1, 700, 2**20])
@pytest.mark.parametrize("look", [1, 50])
def test_the_tables_worked_on_at_a_time_change_nothing(
    cells: int, look: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(random_draws(4, 200, 12, 4))
    strategy = BatchBALD(max_configurations=64)
    whole = strategy.select(pool, 9, np.random.default_rng(0))
    monkeypatch.setattr("strategies.kernels.joint._CELLS", cells)
    monkeypatch.setattr("strategies.kernels.joint._FIRST_LOOK", look)
    other = strategy.select(pool, 9, np.random.default_rng(0))
    assert other.ids.tolist() == whole.ids.tolist()
    assert other.scores.tolist() == whole.scores.tolist()


def test_a_large_batch_is_refused_with_the_way_out() -> None:
    pool = pool_of(random_draws(0, 12, 2, 2))
    with pytest.raises(StrategyError, match="asked for 12 samples, and max_batch is 11; take bald"):
        ask(BatchBALD(max_batch=11), pool, 12)


def test_a_single_draw_is_refused() -> None:
    with pytest.raises(StrategyError, match="batchbald compares draws"):
        ask(BatchBALD(), pool_of(np.full((3, 1, 2), 0.5)), 1)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(2, 4), st.integers(1, 3)),
        elements=st.sampled_from([-700.0, -3.0, -1.0, 0.0, 0.5, 2.0]),
    )
)
def test_each_pick_tells_as_much_as_any_would(logits: Doubles) -> None:
    draws = np.exp(log_softmax(logits.reshape(-1, logits.shape[2]))).reshape(logits.shape)
    size = min(len(draws), 4)
    batch = BatchBALD().select(pool_of(draws), size, np.random.default_rng(0))
    rows = [int(row) for row in batch.ids]
    for place, row in enumerate(rows):
        before = joint_information(draws, rows[:place])
        left = [other for other in range(len(draws)) if other not in rows[:place]]
        best = max(joint_information(draws, [*rows[:place], other]) for other in left) - before
        told = joint_information(draws, [*rows[:place], row]) - before
        assert told == pytest.approx(best, abs=1e-6)
        assert batch.scores[place] == pytest.approx(told, abs=1e-6)
