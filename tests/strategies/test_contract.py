"""What every strategy promises; joining `AnyStrategy` is what enrols a class."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import fields, replace
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


@pytest.fixture(params=STRATEGIES, ids=NAMES)
def strategy(request: pytest.FixtureRequest) -> QueryStrategy:
    made = request.param()
    assert isinstance(made, QueryStrategy)
    return made


def pool_for(strategy: QueryStrategy, kind: str) -> Candidates:
    made = build_pool(kind)
    if made.num_labelled < strategy.min_labelled:
        # What it refuses, a test below shows.
        return build_pool("spread")
    return made


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest, strategy: QueryStrategy) -> Candidates:
    """Each pool on which numbers may go wrong."""
    return pool_for(strategy, str(request.param))


@pytest.fixture(params=["spread", "duplicates", "nothing_labelled"])
def any_pool(request: pytest.FixtureRequest, strategy: QueryStrategy) -> Candidates:
    """For laws of how a pool is handed over, whatever its numbers are."""
    return pool_for(strategy, str(request.param))


def select(strategy: QueryStrategy, pool: Candidates, batch_size: int, seed: int = 0) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(seed))


def with_arrays(pool: Candidates, change: Callable[[str, Any], Any]) -> Candidates:
    """`pool` with every array, those of head and validation among them, replaced."""

    def inside(part: Any) -> Any:
        names = [f.name for f in fields(part)]
        return replace(part, **{name: change(name, getattr(part, name)) for name in names})

    arrays = {name: change(name, getattr(pool, name)) for name in ARRAYS}
    return replace(pool, **arrays, head=inside(pool.head), validation=inside(pool.validation))


def assert_selects_the_same(
    strategy: QueryStrategy, pool: Candidates, other: Candidates, batch_size: int
) -> None:
    expected, got = select(strategy, pool, batch_size), select(strategy, other, batch_size)
    assert got.ids.tolist() == expected.ids.tolist()
    assert got.scores.tolist() == expected.scores.tolist()


def shuffled(pool: Candidates) -> Candidates:
    return pool.take(np.random.default_rng(9).permutation(len(pool)).astype(np.int64))


def test_the_six_published_names_are_in_the_union() -> None:
    assert {"random", "least_confidence", "margin", "entropy", "badge", "coreset"} <= {*NAMES}


def test_names_are_distinct() -> None:
    assert len({*NAMES}) == len(NAMES)


def test_yaml_makes_the_object_itself(strategy: QueryStrategy) -> None:
    made: object = TypeAdapter(AnyStrategy).validate_python({"name": strategy.name})
    assert made == strategy


def test_an_unknown_field_is_refused(strategy: QueryStrategy) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TypeAdapter(AnyStrategy).validate_python({"name": strategy.name, "temprature": 2})


@pytest.mark.parametrize("paragraph", ["Reference:", "Cost:", "Use:"])
def test_the_docstring_says_what_people_ask(strategy: QueryStrategy, paragraph: str) -> None:
    lines = inspect.cleandoc(type(strategy).__doc__ or "").splitlines()
    assert lines[0].endswith(".")
    assert lines[1] == ""
    assert sum(line.startswith(paragraph) for line in lines) == 1


def test_the_batch_is_distinct_and_from_the_pool(strategy: QueryStrategy, pool: Candidates) -> None:
    batch_size = min(9, len(pool))
    batch = select(strategy, pool, batch_size)
    assert len(set(batch.ids.tolist())) == batch_size
    assert set(batch.ids.tolist()) <= set(pool.ids.tolist())


def test_scores_are_numbers_one_for_each_id(strategy: QueryStrategy, pool: Candidates) -> None:
    batch = select(strategy, pool, len(pool))
    assert batch.scores.shape == (len(pool),)
    assert np.isfinite(batch.scores).all()


def test_asking_for_everything_gives_everything(strategy: QueryStrategy, pool: Candidates) -> None:
    assert sorted(select(strategy, pool, len(pool)).ids.tolist()) == pool.ids.tolist()


def test_asking_for_nothing_gives_nothing(strategy: QueryStrategy, any_pool: Candidates) -> None:
    batch = select(strategy, any_pool, 0)
    assert batch.ids.shape == batch.scores.shape == (0,)


def test_an_empty_pool_gives_nothing(strategy: QueryStrategy, any_pool: Candidates) -> None:
    assert len(select(strategy, any_pool.take(np.empty(0, np.int64)), 0)) == 0


@pytest.mark.parametrize("excess", [1, 1000])
def test_asking_for_more_than_there_is_is_refused(
    strategy: QueryStrategy, any_pool: Candidates, excess: int
) -> None:
    with pytest.raises(StrategyError, match=f"{len(any_pool)} candidates are left"):
        select(strategy, any_pool, len(any_pool) + excess)


def test_a_negative_batch_is_refused(strategy: QueryStrategy, any_pool: Candidates) -> None:
    with pytest.raises(StrategyError, match="batch_size is -1"):
        select(strategy, any_pool, -1)


def test_permuting_the_pool_changes_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    assert_selects_the_same(strategy, pool, shuffled(pool), min(20, len(pool)))


def test_blocks_and_threads_change_nothing(
    strategy: QueryStrategy, pool: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_size = min(20, len(pool))
    expected = select(strategy, pool, batch_size)
    monkeypatch.setattr(blocks, "_default_threads", lambda: 3)
    for block_rows in (7, 64):
        monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
        assert select(strategy, pool, batch_size).ids.tolist() == expected.ids.tolist()


def test_half_precision_embeddings_select_what_their_values_select(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    def halved(name: str, array: Any) -> Any:
        return array.astype(np.float16) if name.endswith("embeddings") else array

    def widened(name: str, array: Any) -> Any:
        return array.astype(np.float32) if name.endswith("embeddings") else array

    narrow = with_arrays(pool, halved)
    assert_selects_the_same(strategy, with_arrays(narrow, widened), narrow, min(20, len(pool)))


def test_equal_seeds_select_equally(strategy: QueryStrategy, pool: Candidates) -> None:
    batch_size = min(20, len(pool))
    first, second = (select(strategy, pool, batch_size, seed=3) for _ in range(2))
    assert first.ids.tolist() == second.ids.tolist()


def test_a_smaller_batch_is_a_prefix_of_a_larger_one(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    if not strategy.is_prefix:
        return
    whole = select(strategy, pool, len(pool)).ids.tolist()
    for batch_size in range(0, len(pool), 13):
        assert select(strategy, pool, batch_size).ids.tolist() == whole[:batch_size]


def test_renaming_ids_in_order_changes_only_names(
    strategy: QueryStrategy, any_pool: Candidates
) -> None:
    if strategy.name in DRAWS_BY_NAME:
        return
    renamed = replace(any_pool, ids=np.array([2 * int(number) + 7 for number in any_pool.ids]))
    batch_size = min(20, len(any_pool))
    expected = [2 * int(number) + 7 for number in select(strategy, any_pool, batch_size).ids]
    assert select(strategy, renamed, batch_size).ids.tolist() == expected


def test_inputs_are_not_modified(strategy: QueryStrategy, pool: Candidates) -> None:
    before: list[tuple[Any, Any]] = []

    def locked(_: str, array: Any) -> Any:
        array.flags.writeable = False
        before.append((array, array.copy()))
        return array

    select(strategy, with_arrays(pool, locked), len(pool))
    for array, copy in before:
        np.testing.assert_array_equal(array, copy)


def test_no_global_random_state_is_touched(strategy: QueryStrategy, any_pool: Candidates) -> None:
    before = repr(np.random.get_state())  # noqa: NPY002  the very state that must stay as it is
    select(strategy, any_pool, len(any_pool))
    assert repr(np.random.get_state()) == before  # noqa: NPY002


def test_only_declared_signals_are_read(strategy: QueryStrategy, any_pool: Candidates) -> None:
    bare = Candidates(
        ids=any_pool.ids, **{name: getattr(any_pool, name) for name in strategy.needs}
    )
    assert_selects_the_same(strategy, any_pool, bare, min(20, len(any_pool)))


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


def test_string_ids_are_ordered_by_code_point(
    strategy: QueryStrategy, any_pool: Candidates
) -> None:
    names = np.array([f"é{number:05}" for number in any_pool.ids])
    assert any_pool.labelled_ids is not None
    labelled = np.array([f"l{number}" for number in any_pool.labelled_ids], np.str_)
    named = replace(any_pool, ids=names, labelled_ids=labelled)
    batch_size = min(20, len(any_pool))
    assert (
        select(strategy, shuffled(named), batch_size).ids.tolist()
        == select(strategy, named, batch_size).ids.tolist()
    )


def test_memory_mapped_arrays_select_the_same(
    strategy: QueryStrategy, any_pool: Candidates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mapped")
    count = itertools.count()

    def mapped(name: str, array: Any) -> Any:
        if name.endswith("ids") or not array.size:  # an empty file cannot be mapped
            return array
        path = folder / f"{next(count)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    assert_selects_the_same(strategy, any_pool, with_arrays(any_pool, mapped), len(any_pool))


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
