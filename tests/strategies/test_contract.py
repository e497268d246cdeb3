"""What every strategy promises; joining `AnyStrategy` is what enrols a class."""

from __future__ import annotations

import inspect
import itertools
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import pytest
from pools import POOLS, build_pool
from pydantic import TypeAdapter, ValidationError
from typing_extensions import override

from strategies import AnyStrategy, Candidates, QueryStrategy, Selection, StrategyError
from strategies.base import Picks, Rows
from strategies.kernels import blocks

STRATEGIES: tuple[type[QueryStrategy], ...] = get_args(get_args(AnyStrategy)[0])


DRAWS_BY_NAME = {"random", "mix", "warm_up", "partition", "power", "softmax_topk", "soft_rank"}
"""What an item draws at random in these is a function of its id."""

NAMES = [cls.model_fields["name"].default for cls in STRATEGIES]
ARRAYS = [f.name for f in fields(Candidates) if f.name not in {"head", "validation", "kept"}]


FIELDS: dict[str, dict[str, object]] = {"batchbald": {"max_configurations": 100}}
"""Smaller settings; a strategy without an entry runs with its defaults."""


@pytest.fixture(params=STRATEGIES, ids=NAMES)
def strategy(request: pytest.FixtureRequest) -> QueryStrategy:
    cls: type[QueryStrategy] = request.param
    return cls(**FIELDS.get(cls.model_fields["name"].default, {}))


Law = Callable[[QueryStrategy, Candidates], None]


def on(kinds: list[str]) -> Callable[[Law], Callable[[QueryStrategy], None]]:
    """Makes one test of a law on these kinds of pool; the kind is said of a failure.

    One test for each would cost more than most laws do.
    """

    def of_law(law: Law) -> Callable[[QueryStrategy], None]:
        def test(strategy: QueryStrategy) -> None:
            for kind in kinds:
                pool = locked_pool(kind)
                if pool.num_labelled < strategy.min_labelled:
                    continue  # what it refuses, a test below shows
                try:
                    law(strategy, pool)
                except Exception as error:
                    error.add_note(f"This was {strategy.name} on the pool {kind}.")
                    raise

        test.__name__, test.__doc__ = law.__name__, law.__doc__
        return test

    return of_law


ANY_POOL = ["spread", "duplicates", "nothing_labelled"]
"""For laws of how a pool is handed over, whatever its numbers are."""


def with_arrays(pool: Candidates, change: Callable[[str, Any], Any]) -> Candidates:
    """`pool` with every array, those of head and validation among them, replaced."""

    def inside(part: Any) -> Any:
        names = [f.name for f in fields(part)]
        return replace(part, **{name: change(name, getattr(part, name)) for name in names})

    arrays = {name: change(name, getattr(pool, name)) for name in ARRAYS}
    return replace(pool, **arrays, head=inside(pool.head), validation=inside(pool.validation))


@cache
def locked_pool(kind: str) -> Candidates:
    """What many tests share nobody may write into."""

    def locked(_: str, array: Any) -> Any:
        array.flags.writeable = False
        return array

    return with_arrays(build_pool(kind), locked)


def select(strategy: QueryStrategy, pool: Candidates, batch_size: int, seed: int = 0) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(seed))


selected = cache(select)
"""The same, once for all tests that ask for it; that it would come again is a law below."""


def assert_selects_the_same(
    strategy: QueryStrategy, pool: Candidates, other: Candidates, batch_size: int
) -> None:
    expected = selected(strategy, pool, batch_size)
    assert_the_same(expected, select(strategy, other, batch_size))


def assert_the_same(expected: Selection, got: Selection) -> None:
    assert got.ids.tolist() == expected.ids.tolist()
    assert got.scores.tolist() == expected.scores.tolist()


def shuffled(pool: Candidates) -> Candidates:
    return pool.take(np.random.default_rng(9).permutation(len(pool)).astype(np.int64))


def test_the_six_published_names_are_in_the_union() -> None:
    assert {"random", "least_confidence", "margin", "entropy", "badge", "coreset"} <= {*NAMES}


def test_names_are_distinct() -> None:
    assert len({*NAMES}) == len(NAMES)


def test_yaml_makes_the_object_itself(strategy: QueryStrategy) -> None:
    made: object = TypeAdapter(AnyStrategy).validate_python(
        {"name": strategy.name, **FIELDS.get(strategy.name, {})}
    )
    assert made == strategy


def test_an_unknown_field_is_refused(strategy: QueryStrategy) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TypeAdapter(AnyStrategy).validate_python({"name": strategy.name, "temprature": 2})


def test_the_docstring_says_what_people_ask(strategy: QueryStrategy) -> None:
    lines = inspect.cleandoc(type(strategy).__doc__ or "").splitlines()
    assert lines[0].endswith(".")
    assert lines[1] == ""
    for paragraph in ("Reference:", "Cost:", "Use:"):
        assert sum(line.startswith(paragraph) for line in lines) == 1, paragraph


@on(POOLS)
def test_the_batch_is_distinct_and_from_the_pool(strategy: QueryStrategy, pool: Candidates) -> None:
    batch_size = min(9, len(pool))
    batch = selected(strategy, pool, batch_size)
    assert len(set(batch.ids.tolist())) == batch_size
    assert set(batch.ids.tolist()) <= set(pool.ids.tolist())


@on(POOLS)
def test_scores_are_numbers_one_for_each_id(strategy: QueryStrategy, pool: Candidates) -> None:
    batch = selected(strategy, pool, len(pool))
    assert batch.scores.shape == (len(pool),)
    assert np.isfinite(batch.scores).all()


@on(POOLS)
def test_asking_for_everything_gives_everything(strategy: QueryStrategy, pool: Candidates) -> None:
    assert sorted(selected(strategy, pool, len(pool)).ids.tolist()) == pool.ids.tolist()


@on(ANY_POOL)
def test_asking_for_nothing_gives_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    batch = select(strategy, pool, 0)
    assert batch.ids.shape == batch.scores.shape == (0,)


@on(ANY_POOL)
def test_an_empty_pool_gives_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    assert len(select(strategy, pool.take(np.empty(0, np.int64)), 0)) == 0


@on(ANY_POOL)
def test_asking_for_more_than_there_is_is_refused(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    for excess in (1, 1000):
        with pytest.raises(StrategyError, match=f"{len(pool)} candidates are left"):
            select(strategy, pool, len(pool) + excess)


@on(ANY_POOL)
def test_a_negative_batch_is_refused(strategy: QueryStrategy, pool: Candidates) -> None:
    with pytest.raises(StrategyError, match="batch_size is -1"):
        select(strategy, pool, -1)


@on(POOLS)
def test_permuting_the_pool_changes_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    assert_selects_the_same(strategy, pool, shuffled(pool), min(20, len(pool)))


@on(POOLS)
def test_blocks_and_threads_change_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    batch_size = min(20, len(pool))
    expected = selected(strategy, pool, batch_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_default_threads", lambda: 3)
        patch.setattr(blocks, "BLOCK_ROWS", 7)
        assert select(strategy, pool, batch_size).ids.tolist() == expected.ids.tolist()


@on([*ANY_POOL, "zero_rows", "far_from_origin"])
def test_half_precision_embeddings_select_what_their_values_select(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    def halved(name: str, array: Any) -> Any:
        return array.astype(np.float16) if name.endswith("embeddings") else array

    def widened(name: str, array: Any) -> Any:
        return array.astype(np.float32) if name.endswith("embeddings") else array

    narrow, batch_size = with_arrays(pool, halved), min(20, len(pool))
    expected = select(strategy, with_arrays(narrow, widened), batch_size)
    assert_the_same(expected, select(strategy, narrow, batch_size))


@on(ANY_POOL)
def test_equal_seeds_select_equally(strategy: QueryStrategy, pool: Candidates) -> None:
    assert_selects_the_same(strategy, pool, pool, min(20, len(pool)))


@on(POOLS)
def test_a_smaller_batch_is_a_prefix_of_a_larger_one(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    if not strategy.is_prefix:
        return
    whole = selected(strategy, pool, len(pool)).ids.tolist()
    for batch_size in (0, 1, 20, 47):
        batch = selected(strategy, pool, min(batch_size, len(pool)))
        assert batch.ids.tolist() == whole[:batch_size]


@on(ANY_POOL)
def test_renaming_ids_in_order_changes_only_names(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    if strategy.name in DRAWS_BY_NAME:
        return
    renamed = replace(pool, ids=np.array([2 * int(number) + 7 for number in pool.ids]))
    batch_size = min(20, len(pool))
    expected = [2 * int(number) + 7 for number in selected(strategy, pool, batch_size).ids]
    assert select(strategy, renamed, batch_size).ids.tolist() == expected


@on(POOLS)
def test_inputs_are_not_modified(strategy: QueryStrategy, pool: Candidates) -> None:
    before: list[tuple[Any, Any]] = []

    def noted(_: str, array: Any) -> Any:
        before.append((array, array.copy()))
        return array

    select(strategy, with_arrays(pool, noted), len(pool))
    for array, copy in before:
        np.testing.assert_array_equal(array, copy)


@on(ANY_POOL)
def test_no_global_random_state_is_touched(strategy: QueryStrategy, pool: Candidates) -> None:
    state: Any = np.random.get_state
    before = pickle.dumps(state())
    select(strategy, pool, len(pool))
    assert pickle.dumps(state()) == before


@on(ANY_POOL)
def test_only_declared_signals_are_read(strategy: QueryStrategy, pool: Candidates) -> None:
    bare = Candidates(ids=pool.ids, **{name: getattr(pool, name) for name in strategy.needs})
    assert_selects_the_same(strategy, pool, bare, min(20, len(pool)))


def test_a_missing_signal_is_named(strategy: QueryStrategy) -> None:
    pool = build_pool("spread")
    for need in sorted(strategy.needs):
        given = {name: getattr(pool, name) for name in strategy.needs - {need}}
        with pytest.raises(StrategyError, match=f"{strategy.name} needs {need}"):
            select(strategy, Candidates(ids=pool.ids, **given), 1)


def test_too_few_labelled_samples_are_refused(strategy: QueryStrategy) -> None:
    if strategy.min_labelled:
        with pytest.raises(StrategyError, match=f"{strategy.name} needs .* labelled samples"):
            select(strategy, build_pool("nothing_labelled"), 1)


@on(ANY_POOL)
def test_string_ids_are_ordered_by_code_point(strategy: QueryStrategy, pool: Candidates) -> None:
    names = np.array([f"é{number:05}" for number in pool.ids])
    assert pool.labelled_ids is not None
    labelled = np.array([f"l{number}" for number in pool.labelled_ids], np.str_)
    named = replace(pool, ids=names, labelled_ids=labelled)
    batch_size = min(20, len(pool))
    assert (
        select(strategy, shuffled(named), batch_size).ids.tolist()
        == select(strategy, named, batch_size).ids.tolist()
    )


@on(ANY_POOL)
def test_memory_mapped_arrays_select_the_same(strategy: QueryStrategy, pool: Candidates) -> None:
    count = itertools.count()

    def mapped(name: str, array: Any) -> Any:
        if name.endswith("ids") or not array.size:  # an empty file cannot be mapped
            return array
        path = Path(folder) / f"{next(count)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    with TemporaryDirectory() as folder:
        assert_selects_the_same(strategy, pool, with_arrays(pool, mapped), len(pool))


def test_what_was_kept_changes_nothing(strategy: QueryStrategy) -> None:
    pool = build_pool("spread")
    first = select(strategy, pool, 7)
    bought = np.isin(pool.ids, first.ids)
    rows, kept = np.flatnonzero(~bought), np.flatnonzero(bought)
    labelled = {
        "labelled_ids": pool.ids[kept],
        "labelled_log_probs": pool.log_probs[kept] if pool.log_probs is not None else None,
        "labelled_embeddings": pool.embeddings[kept] if pool.embeddings is not None else None,
        "labelled_labels": np.arange(len(kept)) % 4,
    }
    grown: dict[str, Any] = {
        name: np.concatenate([getattr(pool, name), more])
        for name, more in labelled.items()
        if more is not None
    }
    later = replace(pool.take(rows), **grown)
    assert_selects_the_same(strategy, later, replace(later, kept=first.keep), 9)


def test_a_strategy_that_breaks_its_contract_is_caught() -> None:
    class Twice(QueryStrategy):
        """Answers row 0 for everything."""

        name: str = "twice"

        @override
        def choose(
            self, candidates: Candidates, batch_size: int, rng: np.random.Generator
        ) -> Picks:
            rows: Rows = np.zeros(batch_size, np.int64)
            return Picks(rows=rows, scores=np.zeros(batch_size))

    with pytest.raises(StrategyError, match="twice answered the same row twice"):
        select(Twice(), build_pool("spread"), 2)
