from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from strategies import Candidates
from strategies.base import Doubles, Rows
from strategies.kernels import blocks, kmeanspp
from strategies.kernels.distances import Points
from strategies.kernels.gradients import Gradients
from strategies.kernels.kmeanspp import seed_centres


def materialised_gradients(log_probs: Points, embeddings: Points) -> Doubles:
    """(N, C * D) gradients of the cross-entropy to the likeliest class."""
    residuals = np.exp(log_probs.astype(np.float64))
    residuals[np.arange(len(residuals)), log_probs.argmax(axis=1)] -= 1
    products = residuals[:, :, None] * embeddings.astype(np.float64)[:, None, :]
    return products.reshape(len(products), -1)


def seeding_weights(gradients: Doubles, centres: list[int]) -> Doubles:
    """(N,) squared distance to the nearest centre, zero at the centres."""
    weights: Doubles = np.min(
        [((gradients - gradients[row]) ** 2).sum(axis=1) for row in centres], axis=0
    )
    weights[centres] = 0
    return weights


def gradients_of(pool: Candidates, threads: int | None = None) -> Gradients:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    return Gradients.of(pool.log_probs, pool.embeddings, threads=threads)


def materialised(pool: Candidates) -> Doubles:
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    return materialised_gradients(pool.log_probs, pool.embeddings)


def weights_after(gradients: Gradients, centres: list[int]) -> Doubles:
    weights = np.full(len(gradients.squared_norms), np.inf)
    for centre in centres:
        gradients.lower(weights, np.array([centre]))
    weights[centres] = 0
    return weights


def seeded(pool: Candidates, count: int, seed: int = 0) -> tuple[Rows, Doubles]:
    return seed_centres(gradients_of(pool), count, np.random.default_rng(seed))


def test_the_gradient_of_a_coin_flip_by_hand() -> None:
    log_probs = np.log(np.array([[0.75, 0.25]]))
    gradients = Gradients.of(log_probs, np.array([[3.0, 4.0]]))
    np.testing.assert_allclose(gradients.residuals, [[-0.25, 0.25]])
    np.testing.assert_allclose(gradients.squared_norms, [2 / 16 * 25])


def test_norms_equal_those_of_materialised_gradients(pool: Candidates) -> None:
    squares = (materialised(pool) ** 2).sum(axis=1)
    # exp(l) - 1 loses digits that expm1 keeps, so saturated rows differ in the oracle's last ones.
    np.testing.assert_allclose(gradients_of(pool).squared_norms, squares, rtol=1e-6, atol=1e-14)


def test_the_first_pick_has_the_largest_gradient(pool: Candidates) -> None:
    squares = (materialised(pool) ** 2).sum(axis=1)
    rows, weights = seeded(pool, 1)
    assert rows[0] == np.argmax(np.round(squares, 10))
    assert weights[0] == pytest.approx(squares[rows[0]], rel=1e-6)


def test_weights_equal_the_materialised_ones_after_every_prefix(pool: Candidates) -> None:
    whole, gradients = materialised(pool), gradients_of(pool)
    rows, drawn = seeded(pool, len(pool), seed=1)
    largest = max((whole**2).sum(axis=1).max(), 1e-300)
    reached, expected = (np.full(len(pool), np.inf) for _ in range(2))
    for k in range(1, len(pool)):
        centres, newest = rows[:k], rows[k - 1]
        expected = np.minimum(expected, ((whole - whole[newest]) ** 2).sum(axis=1))
        expected[centres] = 0
        gradients.lower(reached, rows[k - 1 : k])
        weights = reached.copy()
        weights[centres] = 0
        np.testing.assert_allclose(weights / largest, expected / largest, rtol=1e-4, atol=1e-7)
        assert drawn[k] / largest == pytest.approx(expected[rows[k]] / largest, rel=1e-4, abs=1e-7)


def test_twins_of_a_centre_weigh_exactly_nothing() -> None:
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(5), 400)).astype(np.float32)
    embeddings = rng.standard_normal((400, 64)).astype(np.float32)
    twins = np.arange(400) % 100
    gradients = Gradients.of(log_probs[twins], embeddings[twins])
    weights = weights_after(gradients, [3, 57])
    assert np.flatnonzero(weights == 0).tolist() == [3, 57, 103, 157, 203, 257, 303, 357]


def test_distances_of_nearly_equal_gradients_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    log_probs = np.tile(np.log(rng.dirichlet(np.ones(5))), (300, 1)).astype(np.float32)
    embeddings = (10 + 1e-3 * rng.standard_normal((300, 64))).astype(np.float32)
    weights = weights_after(Gradients.of(log_probs, embeddings), [0])
    expected = seeding_weights(materialised_gradients(log_probs, embeddings), [0])
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_duplicates_are_drawn_only_when_nothing_else_is_left() -> None:
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(3), 8))
    embeddings = rng.standard_normal((8, 4))
    kinds = np.arange(40) % 8
    gradients = Gradients.of(log_probs[kinds], embeddings[kinds])
    for seed in range(20):
        rows, weights = seed_centres(gradients, 40, np.random.default_rng(seed))
        assert len(set(kinds[rows[:8]].tolist())) == 8
        assert (weights[:8] > 0).all()
        assert (weights[8:] == 0).all()
        assert sorted(rows.tolist()) == list(range(40))


def test_with_no_weight_left_the_rest_is_uniform() -> None:
    gradients = Gradients.of(np.zeros((5, 1)), np.ones((5, 2)))
    num_draws = 2000
    second = [
        int(seed_centres(gradients, 2, np.random.default_rng(seed))[0][1])
        for seed in range(num_draws)
    ]
    counts = np.bincount(second, minlength=5)
    assert counts[0] == 0
    assert np.abs(counts[1:] - num_draws / 4).max() < 4.5 * np.sqrt(num_draws * 3 / 16)


# On the line 0, 1, 3, 6, 10 the law can be enumerated by hand.
LINE = np.array([0.0, 1.0, 3.0, 6.0, 10.0])


def sequences_of_three() -> dict[tuple[int, int, int], float]:
    """Probability of each sequence of three centres on `LINE`, by enumeration."""
    chances = {}
    first = int(np.argmax(LINE**2))
    for second in range(5):
        weights = (LINE - LINE[first]) ** 2
        chance = weights[second] / weights.sum()
        after = np.minimum(weights, (LINE - LINE[second]) ** 2)
        for third in range(5):
            if chance > 0 and after[third] > 0:
                chances[first, second, third] = float(chance * after[third] / after.sum())
    return chances


@pytest.mark.parametrize("fewest", [1, 8])
def test_sequences_have_the_enumerated_probabilities(
    fewest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kmeanspp, "FEWEST_PROPOSALS", fewest)
    # Equal residuals: gradients lie on a line through one direction.
    log_probs = np.tile(np.log([0.5, 0.5]), (5, 1))
    gradients = Gradients.of(log_probs, LINE[:, None])
    num_draws = 2000
    rng = np.random.default_rng(fewest)
    chances = sequences_of_three()
    assert sum(chances.values()) == pytest.approx(1)
    counts = dict.fromkeys(chances, 0)
    for _ in range(num_draws):
        first, second, third = seed_centres(gradients, 3, rng)[0].tolist()
        counts[first, second, third] += 1
    for sequence, chance in chances.items():
        spread = np.sqrt(num_draws * chance * (1 - chance))
        assert abs(counts[sequence] - num_draws * chance) < 4.5 * spread + 1


class Injected(np.random.Generator):
    """Answers `random` from a list."""

    def __init__(self, uniforms: list[list[float]]) -> None:
        super().__init__(np.random.PCG64(0))
        self.left = uniforms

    def random(self, size: tuple[int, int]) -> Doubles:  # type: ignore[override]
        taken, self.left = self.left[: size[0]], self.left[size[0] :]
        return np.array(taken)


def test_injected_uniforms_propose_and_decide_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeanspp, "FEWEST_PROPOSALS", 3)
    gradients = Gradients.of(np.tile(np.log([0.5, 0.5]), (5, 1)), LINE[:, None])
    # The first centre is 10; the others weigh 100, 81, 49, 16, 0 and add up to 246 halves.
    injected = Injected(
        [
            [99.9 / 246, 0.999],  # proposes 0, always accepted: nothing came between
            [100.1 / 246, 0.02],  # proposes 1: 1 of 81 is left, and 0.02 > 1/81 refuses
            [181.1 / 246, 0.18],  # proposes 3: 9 of 49 is left, and 0.18 < 9/49 accepts
        ]
    )
    rows, weights = seed_centres(gradients, 3, injected)
    assert rows.tolist() == [4, 0, 2]
    np.testing.assert_allclose(weights, [50, 50, 4.5], rtol=1e-6)


@pytest.mark.parametrize(("uniform", "row"), [(0.0, 1), (1 - 2.0**-53, 3)])
def test_the_ends_of_the_unit_interval_propose_rows_with_weight(uniform: float, row: int) -> None:
    # The first row is the first centre and the last row its twin: neither has weight.
    line = np.array([[10.0], [1.0], [3.0], [6.0], [10.0]])
    gradients = Gradients.of(np.tile(np.log([0.5, 0.5]), (5, 1)), line)
    rows, _ = seed_centres(gradients, 2, Injected([[uniform, 0.0]] * 8))
    assert rows.tolist() == [0, row]


def big_pool(num: int) -> Candidates:
    rng = np.random.default_rng(2)
    return Candidates(
        ids=np.arange(num),
        log_probs=np.log(rng.dirichlet(np.full(5, 0.3), num) + 1e-30).astype(np.float32),
        embeddings=rng.standard_normal((num, 16)).astype(np.float32),
    )


def test_threads_change_nothing() -> None:
    pool = big_pool(5000)
    one, two, seven = (
        seed_centres(gradients_of(pool, threads), 300, np.random.default_rng(0))
        for threads in (1, 2, 7)
    )
    assert one[0].tolist() == two[0].tolist() == seven[0].tolist()
    assert one[1].tolist() == two[1].tolist() == seven[1].tolist()


@pytest.mark.parametrize("block_rows", [64, 4096])
def test_the_grid_of_blocks_changes_no_choice(
    block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = big_pool(5000)
    rows, _ = seeded(pool, 300)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    assert seeded(pool, 300)[0].tolist() == rows.tolist()


def test_a_smaller_count_is_a_prefix() -> None:
    pool = big_pool(2000)
    whole = seeded(pool, 600)[0].tolist()
    for count in (1, 8, 9, 100, 599):
        assert seeded(pool, count)[0].tolist() == whole[:count]


def test_later_weights_never_exceed_those_before_them_were_drawn_from() -> None:
    pool = big_pool(2000)
    rows, drawn = seeded(pool, 100)
    whole = materialised(pool)
    for earlier, later in pairwise(range(20)):
        assert (
            seeding_weights(whole, rows[: later + 1].tolist())
            <= seeding_weights(whole, rows[: earlier + 1].tolist()) + 1e-12
        ).all()
    assert (drawn > 0).all()


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 4)),
        elements=st.sampled_from([-50.0, -1.0, 0.0, 2.0, 60.0]),
    ),
    st.integers(0, 2**32 - 1),
)
def test_seeding_is_a_permutation_whatever_the_logits(logits: Doubles, seed: int) -> None:
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    embeddings = np.random.default_rng(seed).integers(-1, 2, (len(logits), 3)).astype(np.float32)
    gradients = Gradients.of(log_probs.astype(np.float32), embeddings)
    rows, weights = seed_centres(gradients, len(logits), np.random.default_rng(seed))
    assert sorted(rows.tolist()) == list(range(len(logits)))
    assert (weights >= 0).all()


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_scaling_embeddings_changes_no_choice(scale: float) -> None:
    pool = big_pool(500)
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    factor = np.float32(2.0 ** np.round(np.log2(scale)))
    scaled = Gradients.of(pool.log_probs, pool.embeddings * factor)
    rows, _ = seed_centres(scaled, 100, np.random.default_rng(0))
    assert rows.tolist() == seeded(pool, 100)[0].tolist()


def test_half_precision_files_are_seeded_by_their_values(tmp_path: Path) -> None:
    pool = big_pool(3000)
    assert pool.log_probs is not None
    assert pool.embeddings is not None
    halves: Any = pool.embeddings.astype(np.float16)
    np.save(tmp_path / "embeddings.npy", halves)
    expected = seed_centres(
        Gradients.of(pool.log_probs, halves.astype(np.float32)), 200, np.random.default_rng(0)
    )
    for embeddings in (halves, np.load(tmp_path / "embeddings.npy", mmap_mode="r")):
        gradients = Gradients.of(pool.log_probs, embeddings)
        rows, weights = seed_centres(gradients, 200, np.random.default_rng(0))
        assert rows.tolist() == expected[0].tolist()
        assert weights.tolist() == expected[1].tolist()
