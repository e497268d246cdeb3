"""Each stopping rule on curves made by hand: when it holds, and when it must not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.metrics import cohen_kappa_score

from al_orchestrator.config import (
    ExperimentConfig,
    differences,
    dump_config,
    identity_digest,
    load_config,
)
from al_orchestrator.errors import ConfigError
from al_orchestrator.stopping import (
    AllOf,
    AnyRule,
    Cost,
    Evidence,
    Patience,
    Plateau,
    Stabilized,
    StoppingRule,
    StopSet,
    Target,
    kappa,
    reason_to_stop,
    refusal,
)

M = "validation/accuracy"
AnyRuleAdapter: TypeAdapter[AnyRule] = TypeAdapter(AnyRule)

EXPERIMENT: dict[str, Any] = {
    "name": "a",
    "dataset": {"name": "digits"},
    "strategy": {"name": "random"},
    "trainer": {"name": "linear_probe", "encoder": {"name": "resnet10_narrow"}},
    "budget": {"initial": 20, "batch_size": 20, "rounds": 4},
}


def evidence(curve: Sequence[float], metric: str = M, **fields: Any) -> Evidence:
    given = {"labels": 20, "validation": 10, "seconds": 0.0, "next_batch": 10, **fields}
    return Evidence(metrics=[{metric: value} for value in curve], **given)


def ends_at(rule: StoppingRule, curve: Sequence[float], metric: str = M) -> int | None:
    """The first round that a rule ends a run of this curve with."""
    for number in range(len(curve)):
        if rule.reason(evidence(curve[: number + 1], metric)) is not None:
            return number
    return None


@pytest.mark.parametrize(
    ("curve", "end"),
    [
        ([0.7], 0),
        ([0.5, 0.69999, 0.7, 0.9], 2),
        ([0.5, 0.6], None),
    ],
)
def test_a_target_ends_the_run_in_the_round_that_reaches_it(
    curve: list[float], end: int | None
) -> None:
    assert ends_at(Target(metric=M, value=0.7), curve) == end


def test_a_target_of_a_loss_is_reached_from_above() -> None:
    rule = Target(metric="validation/nll", value=1.0)
    assert ends_at(rule, [2.0, 1.1, 1.0], "validation/nll") == 2
    assert rule.reason(evidence([1.2, 0.8], "validation/nll")) == (
        "validation/nll is 0.8, and 1 was to be reached"
    )


@pytest.mark.parametrize(
    ("curve", "end"),
    [
        ([0.5, 0.5], None),  # fewer rounds than the window
        ([0.5, 0.5, 0.5], 2),
        ([0.25, 0.375, 0.5, 0.625, 0.6875], 4),  # +1/4, +1/4, +3/16
        ([0.25, 0.5, 0.75, 1.0], None),
        ([0.5, 0.9, 0.5], 2),  # up and down again is no gain
        ([0.5, 0.1, 0.75], None),  # a gain of just min_gain is one
    ],
)
def test_a_plateau_is_a_window_that_gained_too_little(curve: list[float], end: int | None) -> None:
    assert ends_at(Plateau(metric=M, rounds=2, min_gain=0.25), curve) == end


def test_a_plateau_without_a_least_gain_is_a_loss() -> None:
    rule = Plateau(metric=M, rounds=1, min_gain=0.0)
    assert ends_at(rule, [0.5, 0.5, 0.5]) is None
    assert ends_at(rule, [0.5, 0.5, 0.4]) == 2


def test_a_plateau_says_what_was_gained() -> None:
    words = Plateau(metric=M, rounds=2, min_gain=0.25).reason(evidence([0.5, 0.1, 0.625]))
    assert words == f"{M} gained 0.1250 in 2 rounds, less than 0.25"


@pytest.mark.parametrize(
    ("curve", "end"),
    [
        ([0.5, 0.4], None),  # fewer rounds than are waited
        ([0.5, 0.4, 0.4], 2),
        ([0.5, 0.4, 0.6, 0.5, 0.55], 4),  # the wait begins anew at round 2
        ([0.5, 0.5, 0.5], 2),  # as good as the best is not better
        ([0.1, 0.2, 0.3, 0.4], None),
    ],
)
def test_patience_waits_for_a_new_best(curve: list[float], end: int | None) -> None:
    assert ends_at(Patience(metric=M, rounds=2), curve) == end


def test_patience_is_not_held_up_by_steps_that_are_too_small() -> None:
    creeping = [0.5, 0.53125, 0.5625, 0.59375]  # each 1/32, and 3/32 in all
    assert ends_at(Patience(metric=M, rounds=2, min_delta=0.0625), creeping) == 2
    # In three rounds it creeps beyond the best by more than 1/16 after all.
    assert ends_at(Patience(metric=M, rounds=3, min_delta=0.0625), creeping) is None
    assert ends_at(Patience(metric=M, rounds=1, min_delta=0.03125), creeping) == 1


def test_patience_of_a_loss_waits_for_a_smaller_one() -> None:
    rule = Patience(metric="validation/nll", rounds=2)
    words = rule.reason(evidence([1.0, 0.75, 0.8, 0.8], "validation/nll"))
    assert words == "validation/nll has not beaten the 0.75 of round 1 for 2 rounds"
    assert ends_at(rule, [3.0, 2.0, 1.0], "validation/nll") is None


def curves() -> st.SearchStrategy[list[float]]:
    values = st.integers(0, 64).map(lambda n: n / 64)  # exact, so that ties are ties
    return st.lists(values, min_size=1, max_size=12)


@given(curve=curves(), k=st.integers(1, 5))
def test_patience_is_its_definition(curve: list[float], k: int) -> None:
    held = Patience(metric=M, rounds=k).reason(evidence(curve)) is not None
    plain = len(curve) > k and max(curve[-k:]) <= max(curve[:-k])
    assert held == plain


@given(curve=curves(), k=st.integers(1, 5), gain=st.integers(0, 32).map(lambda n: n / 64))
def test_rules_read_no_more_than_their_window_and_no_offset(
    curve: list[float], k: int, gain: float
) -> None:
    assume(len(curve) > k)
    rule = Plateau(metric=M, rounds=k, min_gain=gain)
    whole = rule.reason(evidence(curve))
    assert rule.reason(evidence(curve[-k - 1 :])) == whole
    assert (rule.reason(evidence([1.0 + value for value in curve])) is None) == (whole is None)


@given(curve=curves(), k=st.integers(1, 5))
def test_a_rising_curve_is_never_ended_by_patience_or_a_plateau(curve: list[float], k: int) -> None:
    rising = sorted(set(curve))
    for rule in (Patience(metric=M, rounds=k), Plateau(metric=M, rounds=k, min_gain=1 / 64)):
        assert ends_at(rule, rising) is None


@given(curve=curves(), k=st.integers(1, 5))
def test_a_loss_is_a_gain_turned_over(curve: list[float], k: int) -> None:
    loss = [1.0 - value for value in curve]
    for up, down in (
        (Patience(metric=M, rounds=k), Patience(metric="validation/nll", rounds=k)),
        (Plateau(metric=M, rounds=k), Plateau(metric="validation/nll", rounds=k)),
        (Target(metric=M, value=0.5), Target(metric="validation/nll", value=0.5)),
    ):
        assert ends_at(up, curve) == ends_at(down, loss, "validation/nll")


def test_a_metric_that_is_not_measured_is_named_with_those_that_are() -> None:
    given = Evidence(
        metrics=[{"validation/accuracy": 0.5, "test/accuracy": 0.5}],
        labels=1,
        validation=1,
        seconds=0,
        next_batch=1,
    )
    with pytest.raises(ConfigError, match=r"'validation/acc', .* there are validation/accuracy$"):
        Target(metric="validation/acc", value=0.5).reason(given)


# Stabilising predictions.

labellings = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(pairs=labellings)
def test_kappa_is_that_of_another_library(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(each) for each in zip(*pairs, strict=True))
    assume(len({*first.tolist(), *second.tolist()}) > 1)
    assert kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_two_collapsed_models_have_not_stabilised() -> None:
    ones = np.ones(5, np.int64)
    assert kappa(ones, ones) == 0.0
    assert kappa(ones, 0 * ones) == 0.0


POOL = StopSet("pool", 4)


def predicted(*models: Sequence[int]) -> Evidence:
    arrays = [np.array(each, dtype=np.int64) for each in models]
    return evidence([0.5] * max(1, len(models)), predicted={POOL: arrays})


def test_predictions_have_to_agree_on_the_mean_of_the_last_pairs() -> None:
    rule = Stabilized(size=4, rounds=2, threshold=0.75)
    same, swapped = [0, 1, 0, 1], [0, 1, 0, 0]  # kappa 1/2
    assert rule.reason(predicted(same, same)) is None  # one pair, and two are wanted
    assert rule.reason(predicted(same, same, swapped)) == (
        "models agree with a mean kappa of 0.7500 over 2 rounds on 4 images, at least 0.75"
    )
    assert rule.reason(predicted(swapped, same, swapped)) is None
    assert rule.reason(predicted([1, 0, 1, 0], swapped, swapped, swapped)) is not None
    assert rule.reason(predicted()) is None
    assert rule.reason(evidence([0.5] * 9)) is None  # nothing was predicted


def test_rules_tell_what_has_to_be_predicted_for_them() -> None:
    assert Stabilized(size=4, rounds=2).compares == (POOL, 3)
    assert Stabilized(stop_set="validation").compares == (StopSet("validation", 2000), 4)
    assert Target(value=1).compares is None


# Cost.


def test_a_batch_is_bought_as_long_as_its_labels_can_be_paid() -> None:
    rule = Cost(limit=50, per_label=1)
    assert rule.reason(evidence([0.5], labels=30, validation=10, next_batch=10)) is None
    assert rule.reason(evidence([0.5], labels=30, validation=10, next_batch=11)) == (
        "40 of 50 is spent on 40 labels, the next batch costs 11"
    )
    assert rule.reason(evidence([0.5], labels=40, validation=10, next_batch=1)) == (
        "50 of 50 is spent on 50 labels"
    )


def test_hours_cost_too() -> None:
    hours = Cost(limit=2, per_label=0, per_hour=1)
    assert hours.reason(evidence([0.5], labels=10**6, seconds=7199.0)) is None
    assert hours.reason(evidence([0.5], seconds=7200.0)) == "2 of 2 is spent on 2 hours"
    both = Cost(limit=100, per_label=0.5, per_hour=60)
    spent = both.reason(evidence([0.5], labels=30, validation=10, seconds=4800.0))
    assert spent == "100 of 100 is spent on 40 labels and 1.33 hours"


@given(
    labels=st.integers(0, 1000),
    batch=st.integers(1, 100),
    limit=st.integers(1, 1000),
    more=st.integers(0, 1000),
)
def test_a_higher_limit_never_ends_a_run_earlier(
    labels: int, batch: int, limit: int, more: int
) -> None:
    given = evidence([0.5], labels=labels, validation=0, next_batch=batch)
    low, high = (Cost(limit=each).reason(given) for each in (limit, limit + more))
    assert low is not None or high is None
    if low is None:
        assert labels + batch <= limit


def test_what_costs_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="what costs nothing never ends a run"):
        Cost(limit=1, per_label=0)


# Several rules.


def test_the_first_rule_that_holds_is_the_reason() -> None:
    rules = [Target(metric=M, value=0.9), Patience(metric=M, rounds=1), Target(metric=M, value=0.1)]
    assert reason_to_stop(rules, evidence([0.5])) == (
        f"target: {M} is 0.5, and 0.1 was to be reached"
    )
    found = reason_to_stop(rules, evidence([0.5, 0.4]))
    assert found is not None
    assert found.startswith("patience: ")
    assert reason_to_stop(rules[:2], evidence([0.5])) is None
    assert reason_to_stop([], evidence([0.5])) is None


@given(curve=curves(), a=st.integers(0, 64), k=st.integers(1, 4))
def test_all_holds_when_each_part_does(curve: list[float], a: int, k: int) -> None:
    parts = (Target(metric=M, value=a / 64), Plateau(metric=M, rounds=k))
    given = evidence(curve)
    both = AllOf(of=parts).reason(given)
    assert (both is not None) == all(part.reason(given) is not None for part in parts)
    if both is not None:
        assert both.startswith("target: ")
        assert "; plateau: " in both


def test_all_takes_two_or_more() -> None:
    with pytest.raises(ValidationError, match="at least 2"):
        AllOf(of=(Target(value=1),))


# What may decide.


@pytest.mark.parametrize("metric", ["test/accuracy", "best/test/accuracy", "test/recall/3"])
@pytest.mark.parametrize("name", ["target", "plateau", "patience"])
def test_the_test_set_ends_no_run(metric: str, name: str) -> None:
    fields = {"name": name, "metric": metric, **({"value": 1.0} if name == "target" else {})}
    rule = AnyRuleAdapter.validate_python(fields)
    assert "the test set decides nothing" in (refusal([rule], has_validation=True) or "")
    inside = AllOf.model_validate({"of": [{"name": "cost", "limit": 1}, fields]})
    with pytest.raises(ValidationError, match="the test set decides nothing"):
        ExperimentConfig.model_validate({**EXPERIMENT, "stop": [inside.model_dump()]})


def test_what_reads_the_validation_set_needs_one() -> None:
    with pytest.raises(
        ValidationError, match=r"the validation set, which is empty; set validation"
    ):
        ExperimentConfig.model_validate(
            {**EXPERIMENT, "validation": {"size": 0}, "stop": [{"name": "patience"}]}
        )
    of_validation = Stabilized(stop_set="validation")
    assert refusal([of_validation], has_validation=False)
    assert refusal([of_validation, Patience()], has_validation=True) is None
    assert refusal([Stabilized(), Cost(limit=1)], has_validation=False) is None
    assert refusal([Target(metric="train/accuracy", value=1)], has_validation=False) is None


def test_rules_may_change_without_making_another_experiment() -> None:
    plain = ExperimentConfig.model_validate(EXPERIMENT)
    ruled = ExperimentConfig.model_validate({**EXPERIMENT, "stop": [{"name": "patience"}]})
    assert differences(plain, ruled) == []
    assert identity_digest(plain) == identity_digest(ruled)


def test_a_mistake_in_a_rule_is_named_with_its_line_and_what_there_is(tmp_path: Path) -> None:
    text = dump_config(
        ExperimentConfig.model_validate({**EXPERIMENT, "stop": [{"name": "patience", "rounds": 7}]})
    )
    assert load_config(written(tmp_path, text)).stop == (Patience(rounds=7),)
    with pytest.raises(ConfigError, match=r"line \d+: stop.0.roundz: .*did you mean 'rounds'"):
        load_config(written(tmp_path, text.replace("rounds: 7", "roundz: 7")))
    with pytest.raises(ConfigError, match=r"there is no 'patient'.* did you mean 'patience'"):
        load_config(written(tmp_path, text.replace("name: patience", "name: patient")))


def written(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path
