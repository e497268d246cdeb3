"""What the door refuses, and how it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from strategies import Candidates, Head, RandomSampling, StrategyError
from strategies.base import Floats, Picks
from strategies.checks import check_picks, in_canonical_order

HALF = np.log(np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], np.float32))
IDS = np.array(["a", "b", "c"])


def test_a_repeated_id_is_named() -> None:
    with pytest.raises(StrategyError, match="ids repeats 'b'"):
        Candidates(ids=np.array(["b", "a", "b"]))


@pytest.mark.parametrize("ids", [np.array([[1, 2]]), np.array([1.0]), np.array([b"a"])])
def test_ids_are_a_flat_array_of_strings_or_integers(ids: np.ndarray) -> None:
    with pytest.raises(StrategyError, match="one-dimensional numpy array of strings or of int"):
        Candidates(ids=ids)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_refused_by_id(bad: float) -> None:
    embeddings = np.ones((3, 4), np.float32)
    embeddings[2, 1] = bad
    with pytest.raises(StrategyError, match=r"1 of 3 rows of embeddings are not finite .*'c'"):
        Candidates(ids=IDS, embeddings=embeddings)


def test_finite_embeddings_whose_sum_overflows_are_accepted() -> None:
    Candidates(ids=IDS, embeddings=np.full((3, 4), 3e38, np.float32))


def test_what_is_finite_in_float64_alone_is_refused() -> None:
    embeddings: Any = np.ones((3, 4))
    embeddings[1] = 1e39
    with pytest.raises(StrategyError, match=r"1 of 3 rows of embeddings are not finite .*'b'"):
        Candidates(ids=IDS, embeddings=embeddings)


def test_a_bad_row_in_a_later_block_is_found() -> None:
    embeddings = np.ones((5000, 2), np.float32)
    embeddings[4321] = np.nan
    with pytest.raises(StrategyError, match=r"the first belong to 4321$"):
        Candidates(ids=np.arange(5000), embeddings=embeddings)


def test_many_bad_rows_are_counted_and_the_first_three_named() -> None:
    embeddings = np.full((3000, 2), np.nan, np.float32)
    with pytest.raises(StrategyError, match=r"3000 of 3000 rows.*0, 1, 2, …"):
        Candidates(ids=np.arange(3000), embeddings=embeddings)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.2, 0.2])
def test_log_probs_that_are_no_distribution_are_refused(bad: float) -> None:
    log_probs = HALF.copy()
    log_probs[1, 0] = bad
    with pytest.raises(StrategyError, match=r"1 of 3 rows of log_probs.*log-softmax.*'b'"):
        Candidates(ids=IDS, log_probs=log_probs)


def test_every_posterior_draw_is_checked() -> None:
    draws = np.stack([HALF, HALF], axis=1)
    Candidates(ids=IDS, mc_log_probs=draws)
    draws[2, 1, 0] = 0.3
    with pytest.raises(StrategyError, match=r"1 of 3 rows of mc_log_probs.*'c'"):
        Candidates(ids=IDS, mc_log_probs=draws)


def test_a_class_ruled_out_is_legal() -> None:
    with np.errstate(divide="ignore"):
        Candidates(ids=IDS, log_probs=np.log(np.array([[1, 0]] * 3, np.float32)))


def test_rounding_of_float32_probabilities_is_tolerated() -> None:
    Candidates(ids=IDS, log_probs=(HALF + 5e-4).astype(np.float32))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 4), np.float32), r"shape \(2, 4\); \(3, D\) would fit the ids"),
        (np.ones(3, np.float32), r"shape \(3,\); \(3, D\)"),
        (np.ones((3, 0), np.float32), r"shape \(3, 0\)"),
        (np.ones((3, 4), np.int64), "embeddings is int64; give a numpy array of float32"),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(array: Floats, message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        Candidates(ids=IDS, embeddings=array)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("labelled", ["a", "b", "c"])
def test_a_candidate_that_is_labelled_already_is_named(order: list[int], labelled: str) -> None:
    with pytest.raises(StrategyError, match=f"1 candidates are labelled already: '{labelled}'"):
        Candidates(ids=IDS[order], labelled_ids=np.array(["x", labelled]))


def test_ids_of_two_kinds_are_refused() -> None:
    with pytest.raises(StrategyError, match="use one kind"):
        Candidates(ids=IDS, labelled_ids=np.array([1, 2]))


def test_labelled_arrays_are_aligned() -> None:
    with pytest.raises(StrategyError, match="differ in length"):
        Candidates(
            ids=IDS,
            labelled_ids=np.array(["x"]),
            labelled_embeddings=np.ones((2, 4), np.float32),
        )


def test_labelled_embeddings_are_as_wide_as_the_pool() -> None:
    with pytest.raises(StrategyError, match=r"labelled_embeddings has shape \(1, 5\); \(1, 4\)"):
        Candidates(
            ids=IDS,
            embeddings=np.ones((3, 4), np.float32),
            labelled_embeddings=np.ones((1, 5), np.float32),
        )


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    with pytest.raises(StrategyError, match=f"labelled_labels holds {label}; classes are 0 to 1"):
        Candidates(ids=IDS, log_probs=HALF, labelled_labels=np.array([0, label]))


def test_a_head_fits_classes_and_embeddings() -> None:
    head = Head(weight=np.ones((2, 4), np.float32), bias=np.ones(2, np.float32))
    embeddings = np.ones((3, 4), np.float32)
    Candidates(ids=IDS, log_probs=HALF, embeddings=embeddings, head=head)
    with pytest.raises(StrategyError, match=r"head.weight has shape \(2, 4\); \(2, 5\)"):
        Candidates(ids=IDS, log_probs=HALF, embeddings=np.ones((3, 5), np.float32), head=head)
    with pytest.raises(StrategyError, match="head holds values that are not finite"):
        Candidates(ids=IDS, head=replace(head, bias=np.array([0, np.inf], np.float32)))


def test_a_pool_in_order_is_not_copied() -> None:
    pool = Candidates(ids=IDS, embeddings=np.ones((3, 4), np.float32))
    assert in_canonical_order(pool) is pool


def test_canonical_order_moves_every_array_with_its_ids() -> None:
    pool = Candidates(
        ids=np.array([3, 1, 2]),
        log_probs=HALF,
        embeddings=np.array([[3], [1], [2]], np.float32),
        mc_log_probs=HALF[:, None],
        labelled_ids=np.array([9, 8]),
        labelled_embeddings=np.array([[9], [8]], np.float32),
        labelled_labels=np.array([1, 0]),
    )
    ordered = in_canonical_order(pool)
    assert ordered.ids.tolist() == [1, 2, 3]
    assert ordered.embeddings is not None
    assert ordered.embeddings.tolist() == [[1], [2], [3]]
    np.testing.assert_array_equal(ordered.log_probs, HALF[[1, 2, 0]])
    np.testing.assert_array_equal(ordered.mc_log_probs, HALF[[1, 2, 0], None])
    assert ordered.labelled_ids is not None
    assert ordered.labelled_ids.tolist() == [8, 9]
    np.testing.assert_array_equal(ordered.labelled_embeddings, [[8], [9]])
    np.testing.assert_array_equal(ordered.labelled_labels, [0, 1])


@pytest.mark.parametrize("batch_size", [True, 1.0, "1"])
def test_a_batch_size_is_a_whole_number(batch_size: int) -> None:
    with pytest.raises(StrategyError, match="give a whole number"):
        RandomSampling().select(Candidates(ids=IDS), batch_size, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("rows", "scores", "problem"),
    [
        ([0], [0.0, 0.0], r"rows of shape \(1,\)"),
        ([0, 1], [0.0], r".* scores of shape \(1,\)"),
        ([0, 3], [0.0, 0.0], "rows outside 0 to 2"),
        ([-1, 0], [0.0, 0.0], "rows outside 0 to 2"),
        ([1, 1], [0.0, 0.0], "the same row twice"),
        ([0, 1], [0.0, np.nan], "a score that is NaN"),
    ],
)
def test_picks_that_break_the_contract_are_refused(
    rows: list[int], scores: list[float], problem: str
) -> None:
    picks = Picks(rows=np.array(rows, np.int64), scores=np.array(scores))
    with pytest.raises(StrategyError, match=f"mine answered {problem}"):
        check_picks("mine", picks, num_candidates=3, batch_size=2)
