from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from information import (
    Members,
    SetFunction,
    World,
    assert_is_greedy,
    best,
    conditional,
    facility_location,
    graph_cut,
    greedy,
    log_det,
    world_of,
)
from pools import build_pool
from pydantic import ValidationError

from strategies import Candidates, QueryStrategy
from strategies.base import Selection
from strategies.facility_location import FacilityLocation
from strategies.graph_cut import GraphCut
from strategies.kernels import blocks
from strategies.kernels.exact import on_sum_grid
from strategies.log_det import LogDet
from strategies.scg import FLCG, GCCG, LogDetCG
from strategies.targets import Target

SPACES = ["embeddings", "gradients"]
NOBODY = Target(ids=())


def select(strategy: QueryStrategy, pool: Candidates, count: int) -> Selection:
    return strategy.select(pool, min(count, len(pool)), np.random.default_rng(0))


def members(batch: Selection) -> Members:
    return [int(number) - 100 for number in batch.ids]


def dense(strategy: FLCG | GCCG | LogDetCG, world: World) -> SetFunction:
    """The objectives, written as the docstrings do."""
    nu, private = strategy.nu, world.private
    grid = world.on_grid()
    if isinstance(strategy, FLCG):
        floors = on_sum_grid(nu * best(grid, grid.candidates, private))
        return lambda s: float(np.maximum(best(grid, grid.candidates, s) - floors, 0).sum())
    if isinstance(strategy, GCCG):
        f, weight = graph_cut(grid, strategy.trade_off), 2 * strategy.trade_off * nu
        return lambda s: f(s) - weight * float(grid.table[np.ix_(s, private)].sum())
    kernel = world.table + strategy.ridge * np.eye(len(world.table))

    def volume(s: Members) -> float:
        own, cross = kernel[np.ix_(s, s)], kernel[np.ix_(s, private)]
        rest = cross @ np.linalg.solve(kernel[np.ix_(private, private)], cross.T)
        return float(np.linalg.slogdet(own - nu**2 * rest)[1])

    return volume


CASES: list[FLCG | GCCG | LogDetCG] = [
    FLCG(),
    FLCG(nu=0.9),
    FLCG(nu=0.3),
    GCCG(),
    GCCG(nu=0.5, trade_off=3),
    GCCG(nu=4, trade_off=0.1),
    LogDetCG(),
    LogDetCG(nu=0.6, ridge=0.05),
]


def within(strategy: QueryStrategy) -> float:
    """A column sum comes from a formula, and not from its rounded entries."""
    return 1e-6 if strategy.name == "gccg" else 1e-9


def test_what_is_unlike_the_private_set_comes_first() -> None:
    pool = Candidates(
        ids=np.array(["labelled twin", "new", "side"]),
        embeddings=np.array([[3, 0], [-1, 0], [0, 2]], np.float32),
        labelled_ids=np.array(["p"]),
        labelled_embeddings=np.array([[1, 0]], np.float32),
        labelled_labels=np.array([0]),
    )
    batches = {cls: select(cls(), pool, 3) for cls in (FLCG, GCCG, LogDetCG)}
    for batch in batches.values():
        assert batch.ids[0] == "new"
        assert batch.ids[2] == "labelled twin"
        assert batch.notes["num_private"] == 1
    # Candidates have 1, 0 and 1/2 of the private set; `new` brings the second to 1, and the last
    # resembles it as much as it does the private set.
    np.testing.assert_allclose(batches[FLCG].scores, [1, 0.5, 0], atol=1e-7)
    # Sums over the pool are 3/2, 3/2 and 2; taken off are 1, and twice what each has in common
    # with the private set and earlier picks: 0, then 1/2 + 1/2, then 1 + 0 + 1/2.
    np.testing.assert_allclose(batches[GCCG].scores, [0.5, -1, -2.5], atol=1e-7)
    # d² is 2 for `new`, of similarity 0 to the private set.
    np.testing.assert_allclose(batches[LogDetCG].scores[0], np.log(2), atol=1e-7)


@pytest.mark.parametrize("strategy", CASES, ids=str)
@pytest.mark.parametrize("space", SPACES)
def test_equals_greedy_on_the_dense_objective(strategy: Any, space: str) -> None:
    pool = build_pool("spread", num=40)
    batch = select(strategy.model_copy(update={"space": space}), pool, 10)
    f = dense(strategy, world_of(pool, [], list(range(5)), space=space))
    rows, gains = greedy(f, len(pool), 10)
    assert members(batch) == rows
    np.testing.assert_allclose(batch.scores, gains, atol=within(strategy))


@pytest.mark.parametrize("strategy", CASES, ids=str)
def test_every_pick_adds_most_on_hard_pools(strategy: Any, pool: Candidates) -> None:
    batch = select(strategy, pool, 7)
    f = dense(strategy, world_of(pool, [], list(range(pool.num_labelled))))
    rows = np.array(members(batch))
    assert_is_greedy(f, len(pool), rows, batch.scores, within=within(strategy))


@pytest.mark.parametrize("space", SPACES)
def test_the_scores_add_up_to_the_conditional_gain(space: str) -> None:
    pool = build_pool("spread", num=40)
    world = world_of(pool, [], [1, 3], space=space)
    definitions: list[tuple[QueryStrategy, SetFunction]] = [
        (FLCG(), facility_location(world.on_grid())),
        (GCCG(trade_off=0.7), graph_cut(world.on_grid(), 0.7)),
        (LogDetCG(ridge=0.3), log_det(world, 0.3)),
    ]
    for strategy, f in definitions:
        named = {"space": space, "private": Target(classes=(1,))}
        batch = select(strategy.model_copy(update=named), pool, 12)
        gain = conditional(f, world)
        for k in range(1, 13):
            assert abs(batch.scores[:k].sum() - gain(members(batch)[:k])) < within(strategy)


@pytest.mark.parametrize("space", SPACES)
def test_without_a_private_set_it_is_the_function_itself(pool: Candidates, space: str) -> None:
    pairs: list[tuple[QueryStrategy, QueryStrategy]] = [
        (FLCG(private=NOBODY), FacilityLocation()),
        (GCCG(private=NOBODY), GraphCut()),
        (LogDetCG(private=NOBODY), LogDet()),
    ]
    for strategy, plain in pairs:
        given_nobody, alone = (
            select(s.model_copy(update={"space": space}), pool, 25) for s in (strategy, plain)
        )
        assert given_nobody.ids.tolist() == alone.ids.tolist()
        assert given_nobody.scores.tolist() == alone.scores.tolist()


def test_with_no_weight_on_it_the_private_set_does_not_count() -> None:
    pool = build_pool("duplicates")
    for strategy, plain in ((FLCG(nu=0), FacilityLocation()), (GCCG(nu=0), GraphCut())):
        assert select(strategy, pool, 60).ids.tolist() == select(plain, pool, 60).ids.tolist()


def test_nothing_labelled_is_nothing_private() -> None:
    pool = build_pool("nothing_labelled")
    assert (
        select(FLCG(), pool, 20).ids.tolist() == select(FacilityLocation(), pool, 20).ids.tolist()
    )


def test_facility_location_without_gain_goes_on_by_id() -> None:
    pool = build_pool("all_equal")
    twins = Candidates(
        ids=pool.ids,
        embeddings=pool.embeddings,
        labelled_embeddings=pool.embeddings[:2] if pool.embeddings is not None else None,
    )
    batch = select(FLCG(), twins, 60)
    assert batch.ids.tolist() == list(range(100, 160))
    assert batch.scores.tolist() == [0] * 60
    assert batch.notes == {"num_private": 2, "without_gain": 60}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 3), st.floats(0, 5))
def test_conditioned_cuts_never_gain_more_later(seed: int, nu: float, trade_off: float) -> None:
    rng = np.random.default_rng(seed)
    pool = Candidates(
        ids=np.arange(15),
        embeddings=rng.standard_normal((15, 3)).astype(np.float32),
        labelled_embeddings=rng.standard_normal((4, 3)).astype(np.float32),
    )
    batch = select(GCCG(nu=nu, trade_off=trade_off), pool, 15)
    assert (np.diff(batch.scores) <= 0).all()


@pytest.mark.parametrize("block_rows", [64, 4096])
@pytest.mark.parametrize("cls", [FLCG, GCCG, LogDetCG])
def test_blocks_and_threads_change_nothing(
    cls: type[QueryStrategy], block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = build_pool("spread", num=700)
    whole = select(cls.model_validate({}), pool, 50)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    monkeypatch.setattr(blocks, "_default_threads", lambda: 3)
    batch = select(cls.model_validate({}), pool, 50)
    assert batch.ids.tolist() == whole.ids.tolist()
    assert batch.scores.tolist() == whole.scores.tolist()


def test_a_matrix_that_might_not_be_positive_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        LogDetCG(nu=1.5)
    assert FLCG(nu=1.5).nu == 1.5
