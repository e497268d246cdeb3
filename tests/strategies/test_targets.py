from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import build_pool
from pydantic import TypeAdapter, ValidationError

from strategies import Candidates, StrategyError
from strategies.base import Doubles
from strategies.scg import FLCG
from strategies.scmi import FLCMI, LogDetCMI
from strategies.smi import FL2MI, GCMI
from strategies.targets import Target, known_residuals


def pool_with(labels: list[int], ids: list[str] | None = None) -> Candidates:
    rng = np.random.default_rng(0)
    names = ids or [f"u{number}" for number in range(5)]
    return Candidates(
        ids=np.array(names),
        embeddings=rng.standard_normal((len(names), 3)).astype(np.float32),
        labelled_ids=np.array([f"l{number}" for number in range(len(labels))], np.str_),
        labelled_embeddings=rng.standard_normal((len(labels), 3)).astype(np.float32),
        labelled_labels=np.array(labels, np.int64),
    )


def found_rows(target: Target, pool: Candidates) -> tuple[list[int], list[int]]:
    found = target.find(pool, "test.query")
    return found.labelled.tolist(), found.candidates.tolist()


def test_classes_are_all_labelled_samples_of_these_classes() -> None:
    pool = pool_with([0, 2, 2, 1, 0, 2, 1])
    assert found_rows(Target(classes=(1,)), pool) == ([3, 6], [])
    assert found_rows(Target(classes=(2, 0)), pool) == ([0, 1, 2, 4, 5], [])


def test_rarest_takes_the_classes_with_fewest_labels_and_the_first_of_equals() -> None:
    pool = pool_with([0, 2, 2, 1, 0, 2, 1])
    assert found_rows(Target(rarest=1), pool) == ([0, 4], [])
    assert found_rows(Target(rarest=2), pool) == ([0, 3, 4, 6], [])


def test_rarest_takes_all_classes_where_there_are_no_more() -> None:
    assert found_rows(Target(rarest=9), pool_with([3, 1])) == ([0, 1], [])


def test_everything_is_every_labelled_sample() -> None:
    assert found_rows(Target(everything=True), pool_with([3, 1])) == ([0, 1], [])


def test_ids_are_found_among_the_labelled_and_among_the_candidates() -> None:
    pool = pool_with([0, 1, 1])
    assert found_rows(Target(ids=("u3", "l2", "u0", "l2")), pool) == ([2], [0, 3])


def test_the_order_of_ids_does_not_matter() -> None:
    pool = pool_with([0, 1, 1])
    forward, backward = Target(ids=("u3", "l2", "l0")), Target(ids=("l0", "l2", "u3"))
    assert found_rows(forward, pool) == found_rows(backward, pool)


def test_unknown_ids_are_refused_by_name() -> None:
    with pytest.raises(StrategyError, match=r"test.query names 2 ids .*: 'zebra', 7;.* strings"):
        Target(ids=("u1", "zebra", 7)).find(pool_with([0]), "test.query")


def test_a_number_written_as_a_string_is_not_an_integer_id() -> None:
    with pytest.raises(StrategyError, match=r"'101'; the ids of this pool are integers"):
        Target(ids=("101",)).find(build_pool("spread"), "test.query")


def test_a_class_without_labels_is_refused_with_the_counts() -> None:
    with pytest.raises(
        StrategyError, match=r"names class 1, 5, .* labelled are 2 of class 0, 1 of class 2\."
    ):
        Target(classes=(5, 0, 1)).find(pool_with([0, 2, 0]), "test.query")


def test_names_of_classes_become_numbers_and_unknown_ones_are_refused() -> None:
    names = ["anger", "disgust", "fear"]
    target = Target(classes=("disgust", 0))
    assert target.named(names) == Target(classes=(1, 0))
    assert Target(rarest=2).named(names) == Target(rarest=2)
    for wrong in ("joy", 3):
        with pytest.raises(StrategyError, match=rf"no class {wrong!r}; classes are anger, disgust"):
            Target(classes=(wrong,)).named(names)
    with pytest.raises(StrategyError, match=r"names class 'disgust', and arrays know .* number"):
        target.find(pool_with([0, 1]), "test.query")


def test_a_strategy_names_all_its_targets() -> None:
    strategy = FLCMI(query=Target(classes=("b",)), private=Target(classes=("a", 2)))
    named = strategy.named(["a", "b", "c"])
    assert named == FLCMI(query=Target(classes=(1,)), private=Target(classes=(0, 2)))


def test_exactly_one_way_of_naming_is_asked_for() -> None:
    with pytest.raises(ValidationError, match="by one of ids, classes, rarest, everything"):
        Target()
    with pytest.raises(ValidationError, match="by one of ids, classes, rarest, everything"):
        Target(classes=(1,), rarest=2)
    with pytest.raises(ValidationError, match="at least 1 item"):
        Target(classes=())


def test_yaml_names_a_target() -> None:
    made = TypeAdapter(FL2MI).validate_python({"name": "fl2mi", "query": {"ids": [3, "a"]}})
    assert made.query == Target(ids=(3, "a"))


def test_a_query_of_no_ids_is_refused_and_a_private_set_of_none_is_not() -> None:
    with pytest.raises(ValidationError, match="nothing to resemble"):
        FL2MI(query=Target(ids=()))
    batch = FLCG(private=Target(ids=())).select(pool_with([]), 2, np.random.default_rng(0))
    assert batch.notes["num_private"] == 0


def test_only_what_finds_and_compares_the_targets_is_needed() -> None:
    base = {"embeddings", "labelled_embeddings"}
    assert FL2MI().needs == base | {"labelled_labels"}
    assert FL2MI(query=Target(ids=(1,))).needs == base | {"labelled_ids"}
    assert FLCG().needs == base
    assert FLCMI().needs == base | {"labelled_labels"}
    gradients = {"log_probs", "labelled_log_probs", "labelled_labels"}
    assert FLCG(space="gradients").needs == base | gradients


def test_labels_are_needed_where_the_target_is_made_of_them() -> None:
    assert FL2MI().min_labelled == 1
    assert FL2MI(query=Target(ids=(1,))).min_labelled == 0
    assert FLCG().min_labelled == 0
    assert FLCG(private=Target(classes=(1,))).min_labelled == 1
    assert FLCMI(query=Target(ids=(1,))).min_labelled == 0
    assert LogDetCMI().min_labelled == 1


def test_with_nothing_labelled_a_query_may_be_a_candidate() -> None:
    pool = build_pool("nothing_labelled")
    batch = GCMI(query=Target(ids=(117,))).select(pool, 3, np.random.default_rng(0))
    assert batch.ids[0] == 117  # nothing is as similar to the query as itself


def test_a_query_is_never_private() -> None:
    pool = pool_with([0, 1, 1, 1])
    everything = FLCMI(query=Target(classes=(0,)))
    others = FLCMI(query=Target(classes=(0,)), private=Target(classes=(1,)))
    rng = np.random.default_rng(0)
    first, second = (strategy.select(pool, 5, rng) for strategy in (everything, others))
    assert first.ids.tolist() == second.ids.tolist()
    assert first.notes == second.notes
    assert first.notes["num_private"] == 3


def test_labelled_samples_come_in_any_order() -> None:
    pool = replace(build_pool("spread"), labelled_ids=np.array([4, 1, 3, 0, 2]))
    rows = np.argsort(pool.labelled_ids)  # type: ignore[arg-type]
    about = ("labelled_ids", "labelled_embeddings", "labelled_labels", "labelled_log_probs")
    ordered = replace(pool, **{name: getattr(pool, name)[rows] for name in about})
    strategy = FL2MI(query=Target(ids=(3, 1)))
    first, second = (strategy.select(p, 9, np.random.default_rng(0)) for p in (pool, ordered))
    assert first.ids.tolist() == second.ids.tolist()


def plain_residuals(log_probs: Doubles, labels: list[int]) -> Doubles:
    residuals = np.exp(log_probs) - np.eye(log_probs.shape[1])[labels]
    directions: Doubles = residuals / np.linalg.norm(residuals, axis=1, keepdims=True)
    return directions


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_residuals_of_known_classes_have_the_direction_of_the_gradient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = np.log(rng.dirichlet(np.ones(4), 6))
    labels = rng.integers(0, 4, 6)
    residuals = known_residuals(log_probs, labels)
    residuals /= np.linalg.norm(residuals, axis=1, keepdims=True)
    np.testing.assert_allclose(residuals, plain_residuals(log_probs, labels.tolist()), atol=1e-9)


def test_residuals_do_not_underflow_and_certainty_has_none() -> None:
    log_probs = np.array([[0.0, -800.0, -801.0], [0.0, -np.inf, -np.inf], [-np.inf, 0.0, -np.inf]])
    residuals = known_residuals(log_probs, np.array([0, 0, 0]))
    np.testing.assert_allclose(residuals[0], [-1 - np.exp(-1), 1, np.exp(-1)])
    assert residuals[1].tolist() == [0, 0, 0]
    assert residuals[2].tolist() == [-1, 1, 0]
