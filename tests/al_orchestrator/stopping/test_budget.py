from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from al_orchestrator.stopping import Budget


def sizes(budget: Budget, pool_size: int) -> list[int]:
    """Labels each round trains on."""
    labelled = [budget.initial]
    while step := budget.next_batch(
        number=len(labelled) - 1, spent=labelled[-1], pool_size=pool_size
    ):
        labelled.append(labelled[-1] + step)
    return labelled


def test_rounds_count_trainings_with_round_0_among_them() -> None:
    published = Budget(initial=2870, batch_size=1435, rounds=7)
    assert sizes(published, 28_709) == [2870, 4305, 5740, 7175, 8610, 10_045, 11_480]
    assert published.planned_rounds(28_709) == 7


def test_the_last_batch_is_cut_to_the_total() -> None:
    assert sizes(Budget(initial=10, batch_size=8, total=30), 100) == [10, 18, 26, 30]


def test_a_fraction_is_of_the_pool() -> None:
    assert sizes(Budget(initial=10, batch_size=10, fraction=0.3), 100) == [10, 20, 30]


def test_the_first_limit_reached_ends_the_run() -> None:
    assert sizes(Budget(initial=10, batch_size=10, total=90, rounds=3), 100) == [10, 20, 30]


def test_a_budget_may_be_the_whole_pool() -> None:
    assert sizes(Budget(initial=3, batch_size=3, fraction=1.0), 7) == [3, 6, 7]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"initial": 11, "rounds": 1}, "budget.initial is 11, but the pool holds 10"),
        ({"batch_size": 11, "rounds": 1}, "budget.batch_size is 11"),
        ({"total": 11}, "budget.total is 11"),
        ({"rounds": 6}, "budget.rounds is 6, that is 12 labels"),
        ({"fraction": 0.1}, "less than budget.initial"),
    ],
)
def test_a_budget_beyond_the_pool_is_refused(fields: dict[str, float], words: str) -> None:
    budget = Budget.model_validate({"initial": 2, "batch_size": 2, **fields})
    assert words in (budget.refusal(10) or "")


def test_a_budget_that_fits_is_not_refused() -> None:
    assert Budget(initial=2, batch_size=2, rounds=5).refusal(10) is None


def test_a_total_below_the_seed_set_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than initial"):
        Budget(initial=5, batch_size=1, total=4)


@pytest.mark.parametrize(
    ("fields", "number", "spent", "words"),
    [
        ({"rounds": 3}, 2, 30, "budget: 3 rounds"),
        ({"rounds": 1}, 0, 10, "budget: 1 round"),
        ({"total": 30}, 2, 30, "budget: 30 labels"),
        ({"fraction": 0.3}, 2, 30, "budget: 0.3 of the pool"),
        ({"fraction": 1.0}, 9, 100, "budget: all 100 samples of the pool"),
        ({"total": 90, "rounds": 3}, 2, 30, "budget: 3 rounds"),
        ({"total": 30, "rounds": 9}, 2, 30, "budget: 30 labels"),
        ({"total": 40}, 2, 30, None),
    ],
)
def test_the_limit_that_was_reached_is_named(
    fields: dict[str, float], number: int, spent: int, words: str | None
) -> None:
    budget = Budget.model_validate({"initial": 10, "batch_size": 10, **fields})
    assert budget.end(number=number, spent=spent, pool_size=100) == words


@given(
    initial=st.integers(1, 20),
    batch=st.integers(1, 20),
    total=st.none() | st.integers(1, 60),
    rounds=st.integers(1, 9),
    pool=st.integers(1, 60),
)
def test_no_plan_spends_more_than_any_limit(
    initial: int, batch: int, total: int | None, rounds: int, pool: int
) -> None:
    if total is not None and total < initial:
        return
    budget = Budget(initial=initial, batch_size=batch, total=total, rounds=rounds)
    if budget.refusal(pool) is None:
        labelled = sizes(budget, pool)
        assert labelled[-1] <= min(pool, total or pool)
        assert len(labelled) == budget.planned_rounds(pool) <= rounds
