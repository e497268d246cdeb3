"""Random sampling is uniform, and a sample's number is its own."""

from __future__ import annotations

import numpy as np

from strategies import Candidates, RandomSampling


def ask(ids: list[str], size: int, seed: int) -> list[str]:
    batch = RandomSampling().select(
        Candidates(ids=np.array(ids)), size, np.random.default_rng(seed)
    )
    return [str(name) for name in batch.ids]


def test_every_item_is_chosen_equally_often() -> None:
    num_draws, num_items, size = 4000, 10, 3
    pool = Candidates(ids=np.arange(num_items))
    counts = np.zeros(num_items)
    for seed in range(num_draws):
        counts[RandomSampling().select(pool, size, np.random.default_rng(seed)).ids] += 1
    share = size / num_items
    spread = np.sqrt(num_draws * share * (1 - share))
    assert np.abs(counts - num_draws * share).max() < 4.5 * spread


def test_removing_an_item_leaves_the_order_of_the_others() -> None:
    names = [f"face_{k}.png" for k in range(30)]
    whole = ask(names, 30, seed=5)
    without = ask([name for name in names if name != "face_7.png"], 29, seed=5)
    assert without == [name for name in whole if name != "face_7.png"]


def test_other_seeds_order_otherwise() -> None:
    names = [f"face_{k}.png" for k in range(30)]
    assert ask(names, 30, seed=1) != ask(names, 30, seed=2)
