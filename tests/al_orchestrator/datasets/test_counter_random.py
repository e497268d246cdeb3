"""Counter-based random numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from al_orchestrator.datasets.counter_random import (
    derive_key,
    draw_bell,
    draw_uniform,
    draw_words,
    mix,
)

GAMMA = 0x9E3779B97F4A7C15


def test_mixing_gives_the_published_sequence_of_splitmix64() -> None:
    states = np.array([(1234567 + step * GAMMA) % 2**64 for step in (1, 2, 3)], dtype=np.uint64)

    assert mix(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=8, unique=True),
    st.integers(1, 6),
)
def test_an_item_draws_the_same_alone_as_among_others(
    key: int, items: list[int], num_draws: int
) -> None:
    together = draw_words(key, np.array(items), num_draws + 3)

    for row, item in enumerate(items):
        alone = draw_words(key, np.array([item]), num_draws)
        assert together[row, :num_draws].tolist() == alone[0].tolist()


def test_other_keys_and_other_items_draw_other_numbers() -> None:
    words = [draw_words(key, np.arange(100), 10) for key in (0, 1, 2**63)]

    assert len(np.unique(np.stack(words))) == 3 * 100 * 10


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    numbers = draw_uniform(7, np.arange(10_000), 4)

    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    assert counts.sum() == 40_000
    # Binomial with mean 4,000 and deviation 60.
    assert np.abs(counts - 4000).max() < 5 * 60


def test_bell_numbers_have_mean_0_and_deviation_1_and_no_memory() -> None:
    numbers = draw_bell(7, np.arange(10_000), 4).astype(np.float64)

    assert abs(numbers.mean()) < 5 / 200
    assert abs(numbers.std() - 1) < 0.02
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 5 / 100
    assert np.abs(numbers).max() <= 3.5


def test_a_key_depends_on_every_part_and_its_place() -> None:
    keys = [derive_key("faces", 0, "train"), derive_key("faces", 0, "val"), derive_key("faces", 1)]

    assert len({*keys, derive_key("train", 0, "faces")}) == 4
    assert derive_key("faces", 0, "train") == keys[0]
