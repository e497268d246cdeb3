from __future__ import annotations

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
    conditional_mutual,
    facility_location,
    greedy,
    log_det,
    world_of,
)
from pools import POOLS, build_pool
from pydantic import ValidationError

from strategies import Candidates, QueryStrategy
from strategies.base import Selection
from strategies.kernels.exact import on_sum_grid
from strategies.scg import FLCG, LogDetCG
from strategies.scmi import FLCMI, LogDetCMI
from strategies.smi import FL1MI, LogDetMI
from strategies.targets import Target

# What the defaults find: class 1 is labelled least.
QUERIES, PRIVATE = [1, 3], [0, 2, 4]
SPACES = ["embeddings", "gradients"]
NOBODY = Target(ids=())


def select(strategy: QueryStrategy, pool: Candidates, count: int) -> Selection:
    return strategy.select(pool, min(count, len(pool)), np.random.default_rng(0))


def members(batch: Selection) -> Members:
    return [int(number) - 100 for number in batch.ids]


def dense(strategy: FLCMI | LogDetCMI, world: World) -> SetFunction:
    """The objectives, written as the docstrings do."""
    eta, nu = strategy.eta, strategy.nu
    if isinstance(strategy, FLCMI):
        grid = world.on_grid()
        caps = on_sum_grid(eta * best(grid, grid.candidates, grid.queries))
        floors = on_sum_grid(nu * best(grid, grid.candidates, grid.private))
        return lambda s: float(
            np.maximum(np.minimum(best(grid, grid.candidates, s), caps) - floors, 0).sum()
        )
    kernel = world.table + strategy.ridge * np.eye(len(world.table))
    p, q = world.private, world.queries

    def rest(x: Members, y: Members) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        table = kernel[np.ix_(x, p)] @ np.linalg.solve(kernel[np.ix_(p, p)], kernel[np.ix_(p, y)])
        return np.asarray(table, np.float64)

    def information(s: Members) -> float:
        own = kernel[np.ix_(s, s)] - nu**2 * rest(s, s)
        cross = kernel[np.ix_(s, q)] - rest(s, q)
        told = cross @ np.linalg.solve(kernel[np.ix_(q, q)] - rest(q, q), cross.T)
        return float(np.linalg.slogdet(own)[1] - np.linalg.slogdet(own - eta**2 * told)[1])

    return information


CASES: list[FLCMI | LogDetCMI] = [
    FLCMI(),
    FLCMI(eta=1.1, nu=0.7),
    FLCMI(eta=0.9, nu=0),
    LogDetCMI(),
    LogDetCMI(eta=0.5, nu=0.8, ridge=0.1),
    LogDetCMI(eta=1, nu=0, ridge=0.1),
]


def test_what_is_like_the_query_and_unlike_the_private_set_comes_first() -> None:
    pool = Candidates(
        ids=np.array(["both", "neither", "private", "query"]),
        embeddings=np.array([[1, 1], [-1, -1], [-1, 1], [1, -0.5]], np.float32),
        labelled_ids=np.array([10, 11]).astype(np.str_),
        labelled_embeddings=np.array([[1, 0], [0, 1]], np.float32),
        labelled_labels=np.array([1, 0]),
    )
    asks = Target(classes=(1,))
    for strategy in (FLCMI(query=asks), LogDetCMI(query=asks)):
        batch = strategy.select(pool, 1, np.random.default_rng(0))
        assert batch.ids.tolist() == ["query"]
        assert batch.notes["num_queries"] == batch.notes["num_private"] == 1


@pytest.mark.parametrize("strategy", CASES, ids=str)
@pytest.mark.parametrize("space", SPACES)
def test_equals_greedy_on_the_dense_objective(strategy: FLCMI | LogDetCMI, space: str) -> None:
    pool = build_pool("spread", num=40)
    batch = select(strategy.model_copy(update={"space": space}), pool, 10)
    f = dense(strategy, world_of(pool, QUERIES, PRIVATE, space=space))
    rows, gains = greedy(f, len(pool), 10)
    assert members(batch) == rows
    np.testing.assert_allclose(batch.scores, gains, atol=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in POOLS if kind != "nothing_labelled"])
@pytest.mark.parametrize("strategy", CASES, ids=str)
def test_every_pick_adds_most_on_hard_pools(strategy: FLCMI | LogDetCMI, kind: str) -> None:
    pool = build_pool(kind, num=30)
    labels = pool.labelled_labels
    assert labels is not None
    is_query = labels == labels.max()  # the rarest class is the last
    private = np.flatnonzero(~is_query).tolist()
    world = world_of(pool, np.flatnonzero(is_query).tolist(), private)
    batch = select(strategy, pool, 7)
    assert_is_greedy(dense(strategy, world), len(pool), np.array(members(batch)), batch.scores)


@pytest.mark.parametrize("space", SPACES)
def test_the_scores_add_up_to_conditional_mutual_information(space: str) -> None:
    pool = build_pool("spread", num=40)
    world = world_of(pool, QUERIES, PRIVATE, space=space)
    definitions = [
        (FLCMI.model_validate({"space": space}), facility_location(world.on_grid())),
        (LogDetCMI.model_validate({"space": space, "ridge": 0.3}), log_det(world, 0.3)),
    ]
    for strategy, f in definitions:
        batch, information = select(strategy, pool, 12), conditional_mutual(f, world)
        for k in range(1, 13):
            assert abs(batch.scores[:k].sum() - information(members(batch)[:k])) < 1e-9


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["spread", "duplicates", "zero_rows"]), st.floats(0, 1))
def test_without_a_private_set_it_is_mutual_information(kind: str, eta: float) -> None:
    pool = build_pool(kind)
    pairs: list[tuple[QueryStrategy, QueryStrategy]] = [
        (FLCMI(private=NOBODY, eta=eta), FL1MI(eta=eta)),
        (LogDetCMI(private=NOBODY, eta=eta), LogDetMI(eta=eta)),
    ]
    for conditional, plain in pairs:
        first, second = select(conditional, pool, 20), select(plain, pool, 20)
        assert first.ids.tolist() == second.ids.tolist()
        assert first.scores.tolist() == second.scores.tolist()


def test_a_query_set_without_bounds_leaves_the_conditional_gain() -> None:
    pool = build_pool("spread")
    private = Target(classes=(0,))
    wide = select(FLCMI(private=private, eta=1e6), pool, 20)
    assert wide.ids.tolist() == select(FLCG(private=private), pool, 20).ids.tolist()


def test_what_the_private_set_tells_is_taken_for_known() -> None:
    # The chain rule: I(S; Q | P) = f(S | P) - f(S | Q + P).
    pool = build_pool("spread")
    batch = select(LogDetCMI(), pool, 15)
    rows = members(batch)
    world = world_of(pool, QUERIES, PRIVATE)
    f = log_det(world, 1.0)
    given_private = f(rows + world.private) - f(world.private)
    given_both = f(rows + world.private + world.queries) - f(world.private + world.queries)
    assert abs(batch.scores.sum() - (given_private - given_both)) < 1e-9
    assert (batch.scores >= 0).all()
    # What is known cannot be learnt again.
    plain = select(LogDetCG(), pool, 15)
    assert plain.ids.tolist() != batch.ids.tolist()


def test_weights_beyond_the_definition_are_refused() -> None:
    for weights in ({"eta": 1.5}, {"nu": 1.5}):
        with pytest.raises(ValidationError, match="less than or equal to 1"):
            LogDetCMI.model_validate(weights)
    assert FLCMI(eta=1.5, nu=1.5).eta == 1.5
