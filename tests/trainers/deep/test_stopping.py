from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from trainers.deep.stopping import (
    Epoch,
    has_converged,
    has_diverged,
    is_saturated,
    stop_reason,
    total_epochs,
)
from trainers.recipes import Recipe, StopRules


def epochs(
    accuracies: Sequence[float], *, total: int = 200, restarts: Sequence[int] = ()
) -> list[Epoch]:
    """A history of ten steps an epoch; `restarts` are the epochs that ended in a fresh start."""
    return [
        Epoch(
            epoch=n,
            total_epochs=total,
            loss=1.0,
            accuracy=accuracy,
            lr=0.1,
            seconds=1.0,
            steps=10 * n,
            restarted=n in restarts,
        )
        for n, accuracy in enumerate(accuracies, start=1)
    ]


def test_a_fit_stops_at_the_accuracy_asked_for() -> None:
    assert stop_reason(epochs([0.5, 0.998]), StopRules()) is None
    assert "0.9990 reached 0.999" in str(stop_reason(epochs([0.5, 0.999]), StopRules()))


def test_the_cap_of_epochs_is_exact() -> None:
    assert stop_reason(epochs([0.1, 0.2], total=3), StopRules()) is None
    assert stop_reason(epochs([0.1, 0.2, 0.3], total=3), StopRules()) == "all 3 epochs"


def test_ten_epochs_without_gain_are_saturation() -> None:
    assert stop_reason(epochs([0.5] * 9), StopRules()) is None
    assert "no gain of 0.001" in str(stop_reason(epochs([0.5] * 10), StopRules()))


def test_a_gain_of_a_thousandth_within_the_window_is_no_saturation() -> None:
    assert not is_saturated([0.5] * 9 + [0.501], window=10, gain=0.001)
    assert is_saturated([0.5] * 9 + [0.5009], window=10, gain=0.001)


def test_a_gain_that_has_left_the_window_does_not_count() -> None:
    assert is_saturated([0.1] + [0.5] * 10, window=10, gain=0.001)


def test_falling_accuracies_are_saturated() -> None:
    assert is_saturated([0.9, 0.8, 0.7], window=3, gain=0.001)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.integers(2, 10))
def test_saturation_equals_comparing_all_pairs(accuracies: list[float], window: int) -> None:
    recent = accuracies[-window:]
    gains = [later - recent[i] for i in range(len(recent)) for later in recent[i + 1 :]]
    expected = len(recent) == window and all(gain < 0.01 for gain in gains)
    assert is_saturated(accuracies, window=window, gain=0.01) == expected


def test_no_rule_but_the_cap_stops_before_the_least_steps() -> None:
    rules = StopRules(min_steps=25)
    assert stop_reason(epochs([1.0, 1.0]), rules) is None
    assert stop_reason(epochs([1.0, 1.0, 1.0]), rules) is not None


def test_the_cap_of_epochs_rises_until_the_least_steps_fit() -> None:
    assert total_epochs(Recipe(epochs=10), steps_per_epoch=2) == 10
    recipe = Recipe(epochs=10, stopping=StopRules(min_steps=41))
    assert total_epochs(recipe, steps_per_epoch=2) == 21


def test_every_fiftieth_epoch_without_learning_begins_anew() -> None:
    assert has_diverged(epochs([0.19] * 50), StopRules())
    assert not has_diverged(epochs([0.19] * 49), StopRules())
    assert not has_diverged(epochs([0.19] * 49 + [0.2]), StopRules())
    assert has_diverged(epochs([0.19] * 100), StopRules())


def test_the_last_epoch_is_never_thrown_away() -> None:
    assert not has_diverged(epochs([0.1] * 50, total=50), StopRules())


def test_the_window_of_saturation_begins_with_a_fresh_start() -> None:
    rules = StopRules(max_train_accuracy=None)
    # Nine even epochs after the fresh start, nineteen in all.
    assert stop_reason(epochs([0.1] * 19, restarts=[10]), rules) is None
    assert stop_reason(epochs([0.1] * 20, restarts=[10]), rules) is not None


def test_rules_can_be_switched_off() -> None:
    rules = StopRules(max_train_accuracy=None, saturation_window=None, divergence_every=None)
    assert stop_reason(epochs([1.0] * 50), rules) is None
    assert not has_diverged(epochs([0.0] * 50), rules)


def test_a_fit_has_converged_if_a_rule_is_content_whatever_the_cap_says() -> None:
    assert has_converged(epochs([0.5, 0.999], total=2), StopRules()) is True
    assert has_converged(epochs([0.1, 0.2, 0.3], total=3), StopRules()) is False
    assert has_converged(epochs([0.5] * 10, total=10), StopRules()) is True
    fixed = StopRules(max_train_accuracy=None, saturation_window=None)
    assert has_converged(epochs([0.5, 0.999], total=2), fixed) is None
    assert has_converged(epochs([0.999], total=9), StopRules(min_steps=50)) is False
