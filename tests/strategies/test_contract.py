"""What every strategy promises; joining `AnyStrategy` is what enrols a class."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from typing_extensions import override

from strategies import AnyStrategy, Candidates, QueryStrategy, Selection, StrategyError
from strategies.base import Picks, Rows

STRATEGIES: tuple[type[QueryStrategy], ...] = get_args(get_args(AnyStrategy)[0])


@pytest.fixture(params=STRATEGIES, ids=lambda cls: cls.model_fields["name"].default)
def strategy(request: pytest.FixtureRequest) -> QueryStrategy:
    made = request.param()
    assert isinstance(made, QueryStrategy)
    return made


def select(strategy: QueryStrategy, pool: Candidates, batch_size: int, seed: int = 0) -> Selection:
    return strategy.select(pool, batch_size, np.random.default_rng(seed))


def shuffled(pool: Candidates) -> Candidates:
    return pool.take(np.random.default_rng(9).permutation(len(pool)).astype(np.int64))


def test_the_six_published_names_are_in_the_union() -> None:
    names = [cls.model_fields["name"].default for cls in STRATEGIES]
    assert names[:6] == ["random", "least_confidence", "margin", "entropy", "badge", "coreset"]


def test_yaml_makes_the_object_itself(strategy: QueryStrategy) -> None:
    made: object = TypeAdapter(AnyStrategy).validate_python({"name": strategy.name})
    assert made == strategy


def test_an_unknown_field_is_refused(strategy: QueryStrategy) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TypeAdapter(AnyStrategy).validate_python({"name": strategy.name, "temprature": 2})


def test_the_docstring_says_more_than_one_line(strategy: QueryStrategy) -> None:
    assert "\n" in (type(strategy).__doc__ or "")


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


def test_asking_for_nothing_gives_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    batch = select(strategy, pool, 0)
    assert batch.ids.shape == batch.scores.shape == (0,)


def test_an_empty_pool_gives_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    assert len(select(strategy, pool.take(np.empty(0, np.int64)), 0)) == 0


@pytest.mark.parametrize("excess", [1, 1000])
def test_asking_for_more_than_there_is_is_refused(
    strategy: QueryStrategy, pool: Candidates, excess: int
) -> None:
    with pytest.raises(StrategyError, match=f"{len(pool)} candidates are left"):
        select(strategy, pool, len(pool) + excess)


def test_a_negative_batch_is_refused(strategy: QueryStrategy, pool: Candidates) -> None:
    with pytest.raises(StrategyError, match="batch_size is -1"):
        select(strategy, pool, -1)


def test_permuting_the_pool_changes_nothing(strategy: QueryStrategy, pool: Candidates) -> None:
    batch_size = min(20, len(pool))
    straight = select(strategy, pool, batch_size)
    permuted = select(strategy, shuffled(pool), batch_size)
    assert straight.ids.tolist() == permuted.ids.tolist()
    assert straight.scores.tolist() == permuted.scores.tolist()


def test_equal_seeds_select_equally(strategy: QueryStrategy, pool: Candidates) -> None:
    batch_size = min(20, len(pool))
    first, second = (select(strategy, pool, batch_size, seed=3) for _ in range(2))
    assert first.ids.tolist() == second.ids.tolist()


def test_a_smaller_batch_is_a_prefix_of_a_larger_one(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    whole = select(strategy, pool, len(pool)).ids.tolist()
    for batch_size in range(0, len(pool), 7):
        assert select(strategy, pool, batch_size).ids.tolist() == whole[:batch_size]


@pytest.mark.parametrize(
    # What an item draws at random is a function of its name.
    "strategy",
    [cls for cls in STRATEGIES if cls.model_fields["name"].default != "random"],
    indirect=True,
)
def test_renaming_ids_in_order_changes_only_names(
    strategy: QueryStrategy, pool: Candidates
) -> None:
    renamed = replace(pool, ids=np.array([2 * int(number) + 7 for number in pool.ids]))
    batch_size = min(20, len(pool))
    expected = [2 * int(number) + 7 for number in select(strategy, pool, batch_size).ids]
    assert select(strategy, renamed, batch_size).ids.tolist() == expected


def test_inputs_are_not_modified(strategy: QueryStrategy, pool: Candidates) -> None:
    names = ("ids", "log_probs", "embeddings", "labelled_ids", "labelled_embeddings")
    for name in names:
        getattr(pool, name).flags.writeable = False
    before = {name: getattr(pool, name).copy() for name in names}
    select(strategy, pool, len(pool))
    for name in names:
        np.testing.assert_array_equal(getattr(pool, name), before[name])


def test_no_global_random_state_is_touched(strategy: QueryStrategy, pool: Candidates) -> None:
    before = repr(np.random.get_state())  # noqa: NPY002  the very state that must stay as it is
    select(strategy, pool, len(pool))
    assert repr(np.random.get_state()) == before  # noqa: NPY002


def test_only_declared_signals_are_read(strategy: QueryStrategy, pool: Candidates) -> None:
    bare = Candidates(ids=pool.ids, **{name: getattr(pool, name) for name in strategy.needs})
    batch_size = min(20, len(pool))
    assert (
        select(strategy, bare, batch_size).ids.tolist()
        == select(strategy, pool, batch_size).ids.tolist()
    )


@pytest.mark.parametrize("strategy", [cls for cls in STRATEGIES if cls.needs], indirect=True)
def test_a_missing_signal_is_named(strategy: QueryStrategy, pool: Candidates) -> None:
    with pytest.raises(StrategyError, match=f"{strategy.name} needs {min(strategy.needs)}"):
        select(strategy, Candidates(ids=pool.ids), 1)


def test_string_ids_are_ordered_by_code_point(strategy: QueryStrategy, pool: Candidates) -> None:
    names = np.array([f"é{number:05}" for number in pool.ids])
    named = replace(pool, ids=names, labelled_ids=None)
    batch_size = min(20, len(pool))
    assert (
        select(strategy, shuffled(named), batch_size).ids.tolist()
        == select(strategy, named, batch_size).ids.tolist()
    )


def test_memory_mapped_arrays_select_the_same(
    strategy: QueryStrategy, pool: Candidates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mapped")
    on_disk = pool
    for name in ("log_probs", "embeddings", "labelled_embeddings"):
        np.save(folder / f"{name}.npy", getattr(pool, name))
        # An empty file cannot be mapped.
        mode: Literal["r"] | None = "r" if getattr(pool, name).size else None
        on_disk = replace(on_disk, **{name: np.load(folder / f"{name}.npy", mmap_mode=mode)})
    whole = len(pool)
    in_memory = select(strategy, pool, whole)
    assert select(strategy, on_disk, whole).ids.tolist() == in_memory.ids.tolist()
    assert select(strategy, on_disk, whole).scores.tolist() == in_memory.scores.tolist()


def test_a_strategy_that_breaks_its_contract_is_caught(pool: Candidates) -> None:
    class Twice(QueryStrategy):
        """Answers row 0 for everything."""

        name: str = "twice"

        @override
        def choose(
            self, candidates: Candidates, batch_size: int, rng: np.random.Generator
        ) -> Picks:
            rows: Rows = np.zeros(batch_size, np.int64)
            return Picks(rows=rows, scores=np.zeros(batch_size))

    if len(pool) > 1:
        with pytest.raises(StrategyError, match="twice answered the same row twice"):
            select(Twice(), pool, 2)
