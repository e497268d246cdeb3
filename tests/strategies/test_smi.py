from __future__ import annotations

from collections.abc import Callable
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
    facility_location,
    graph_cut,
    greedy,
    log_det,
    mutual,
    query_location,
    world_of,
)
from pools import POOLS, build_pool
from pydantic import ValidationError

from strategies import Candidates, QueryStrategy
from strategies.base import Doubles, Selection
from strategies.kernels.exact import on_sum_grid
from strategies.smi import COM, FL1MI, FL2MI, GCMI, LogDetMI
from strategies.targets import Target

QUERIES = [1, 3]  # what the default finds: of five samples the two of class 1
LABELLED = [kind for kind in POOLS if kind != "nothing_labelled"]
SPACES = ["embeddings", "gradients"]
PSIS: dict[str, Callable[[Doubles], Doubles]] = {
    "sqrt": np.sqrt,
    "log1p": np.log1p,
    "inverse": lambda value: value / (1 + value),
}


def select(strategy: QueryStrategy, pool: Candidates, count: int) -> Selection:
    return strategy.select(pool, min(count, len(pool)), np.random.default_rng(0))


def members(batch: Selection) -> Members:
    return [int(number) - 100 for number in batch.ids]


def dense(name: str, world: World, eta: float = 1.0, **more: Any) -> SetFunction:
    """The objectives, written as the paper does."""
    grid = world.on_grid()
    if name == "fl1mi":
        caps = on_sum_grid(eta * best(grid, grid.candidates, grid.queries))
        return lambda s: float(np.minimum(best(grid, grid.candidates, s), caps).sum())
    if name == "fl2mi":
        return lambda s: float(
            best(grid, grid.queries, s).sum() + eta * best(grid, s, grid.queries).sum()
        )
    if name == "gcmi":
        return lambda s: float(2 * grid.table[np.ix_(s, grid.queries)].sum())
    if name == "com":
        psi = PSIS[more["psi"]]
        return lambda s: float(
            eta * psi(grid.table[np.ix_(s, grid.queries)].sum(axis=1)).sum()
            + psi(grid.table[np.ix_(s, grid.queries)].sum(axis=0)).sum()
        )
    kernel = world.table + more["ridge"] * np.eye(len(world.table))

    def information(s: Members) -> float:
        own, cross = kernel[np.ix_(s, s)], kernel[np.ix_(s, world.queries)]
        rest = cross @ np.linalg.solve(kernel[np.ix_(world.queries, world.queries)], cross.T)
        return float(np.linalg.slogdet(own)[1] - np.linalg.slogdet(own - eta**2 * rest)[1])

    return information


CASES: list[QueryStrategy] = [
    FL1MI(),
    FL1MI(eta=0.8),
    FL1MI(eta=1.2),
    FL2MI(),
    FL2MI(eta=0.25),
    GCMI(),
    COM(),
    COM(eta=0.5, psi="log1p"),
    COM(eta=0, psi="inverse"),
    LogDetMI(),
    LogDetMI(eta=0.6, ridge=0.1),
]


def fields_of(strategy: QueryStrategy) -> dict[str, Any]:
    asked = strategy.model_dump(include={"name", "eta", "psi", "ridge"})
    return {"psi": "sqrt", "ridge": 1.0, **asked}


def test_what_resembles_the_query_comes_first() -> None:
    pool = Candidates(
        ids=np.array(["near", "far", "side"]),
        embeddings=np.array([[5, 1], [-2, 0], [0, 3]], np.float32),
        labelled_ids=np.array(["q", "other"]),
        labelled_embeddings=np.array([[1, 0], [-1, 0]], np.float32),
        labelled_labels=np.array([1, 0]),
    )
    asks = Target(classes=(1,))
    for strategy in (FL2MI(query=asks), GCMI(query=asks), COM(query=asks), LogDetMI(query=asks)):
        batch = strategy.select(pool, 3, np.random.default_rng(0))
        assert batch.ids.tolist() == ["near", "side", "far"]
    batch = GCMI(query=asks).select(pool, 3, np.random.default_rng(0))
    np.testing.assert_allclose(batch.scores, [1 + 5 / np.sqrt(26), 1, 0], atol=1e-7)
    # It represents the pool as far as it is like the query: the middle of three is worth most.
    # near: s = 1, .01, .60 by caps .99, 0, .5; far: 0, by caps .01, 0, .5; side: .60, 0, .5.
    batch = FL1MI(query=asks).select(pool, 2, np.random.default_rng(0))
    assert batch.ids.tolist() == ["near", "far"]
    np.testing.assert_allclose(batch.scores, [(1 + 5 / np.sqrt(26)) / 2 + 0.5, 0], atol=1e-7)
    assert batch.notes == {"num_queries": 1, "without_gain": 1}


@pytest.mark.parametrize("strategy", CASES, ids=str)
@pytest.mark.parametrize("space", SPACES)
def test_equals_greedy_on_the_dense_objective(strategy: QueryStrategy, space: str) -> None:
    pool = build_pool("spread", num=40)
    batch = select(strategy.model_copy(update={"space": space}), pool, 10)
    f = dense(**fields_of(strategy), world=world_of(pool, QUERIES, space=space))
    rows, gains = greedy(f, len(pool), 10)
    assert members(batch) == rows
    np.testing.assert_allclose(batch.scores, gains, atol=1e-9 if strategy.name != "com" else 1e-8)


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("strategy", CASES, ids=str)
def test_every_pick_adds_most_on_hard_pools(strategy: QueryStrategy, kind: str) -> None:
    pool = build_pool(kind, num=30)
    labels = pool.labelled_labels
    assert labels is not None
    queries = np.flatnonzero(labels == labels.max()).tolist()  # the rarest class is the last
    batch = select(strategy, pool, 7)
    f = dense(**fields_of(strategy), world=world_of(pool, queries))
    within = 1e-9 if strategy.name != "com" else 1e-8
    assert_is_greedy(f, len(pool), np.array(members(batch)), batch.scores, within=within)


DEFINITIONS: dict[str, tuple[QueryStrategy, Callable[[World], SetFunction]]] = {
    "fl1mi": (FL1MI(), lambda world: facility_location(world.on_grid())),
    "fl2mi": (FL2MI(), lambda world: query_location(world.on_grid())),
    "gcmi": (GCMI(trade_off=0.7), lambda world: graph_cut(world.on_grid(), 0.7)),
    "logdetmi": (LogDetMI(ridge=0.3), lambda world: log_det(world, 0.3)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("space", SPACES)
def test_the_scores_add_up_to_mutual_information(name: str, space: str) -> None:
    strategy, base = DEFINITIONS[name]
    pool = build_pool("spread", num=40)
    batch = select(strategy.model_copy(update={"space": space}), pool, 12)
    world = world_of(pool, QUERIES, space=space)
    information = mutual(base(world), world)
    for k in range(1, 13):
        assert abs(batch.scores[:k].sum() - information(members(batch)[:k])) < 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_a_query_of_candidates_is_the_same_query_labelled(seed: int, num_queries: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((12, 3)).astype(np.float32)
    rows = rng.permutation(12)[:num_queries]
    pool = Candidates(
        ids=np.arange(12),
        embeddings=points,
        labelled_ids=np.arange(50, 50 + num_queries),
        labelled_embeddings=points[rows],
        labelled_labels=np.zeros(num_queries, np.int64),
    )
    among, labelled = Target(ids=tuple(rows.tolist())), Target(rarest=1)
    for cls in (FL1MI, FL2MI, GCMI, COM, LogDetMI):
        first, second = (select(cls(query=query), pool, 12) for query in (among, labelled))
        assert first.ids.tolist() == second.ids.tolist()
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-12)


def test_facility_location_without_gain_goes_on_by_id() -> None:
    pool = build_pool("all_equal")
    batch = select(FL1MI(), pool, 60)
    assert batch.ids.tolist() == list(range(100, 160))
    assert batch.notes["without_gain"] == 59


def test_more_eta_means_more_relevance() -> None:
    pool = build_pool("spread")
    relevance = GCMI(query=Target(ids=(0,)))
    by_relevance = select(relevance, pool, 60).ids.tolist()
    batch = select(FL2MI(query=Target(ids=(0,)), eta=1e6), pool, 60)
    assert batch.ids.tolist() == by_relevance


def test_an_unknown_concave_function_is_refused() -> None:
    with pytest.raises(ValidationError, match="'sqrt', 'log1p' or 'inverse'"):
        COM.model_validate({"psi": "cube"})


def test_log_det_asks_for_eta_in_the_unit_interval() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        LogDetMI(eta=1.01)


def test_no_weight_on_the_query_leaves_nothing_to_tell() -> None:
    batch = select(LogDetMI(eta=0), build_pool("spread"), 9)
    np.testing.assert_allclose(batch.scores, 0, atol=1e-14)
