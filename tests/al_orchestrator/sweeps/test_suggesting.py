"""What Optuna suggests: in range, the same each time, and better for being told."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from al_orchestrator.errors import ConfigError
from al_orchestrator.sweeps.searches import Range, Suggested
from al_orchestrator.sweeps.suggesting import Suggestions

SGD: dict[str, Any] = {"name": "sgd", "momentum": 0.9}
SPACE: dict[str, Range | list[Any]] = {
    "trainer.optimizer": ["adam", SGD],
    "trainer.l2": Range(low=1e-4, high=1e4, log=True),
    "trainer.epochs": Range(low=1, high=5),
    "trainer.momentum": Range(low=0.5, high=0.99),
}
Settings = dict[str, Any]


def height(settings: Settings) -> float:
    """Highest, 0, where l2 is 10 and the optimiser SGD."""
    away = math.log10(settings["trainer.l2"]) - 1
    return -(away**2) - float(settings["trainer.optimizer"] != SGD)


def searched(
    trials: int,
    *,
    seed: int = 0,
    together: int = 1,
    lower: bool = False,
    told: Callable[[Settings], float | None] = height,
) -> list[Settings]:
    suggestions = Suggestions(Suggested(seed=seed), SPACE, lower_is_better=lower)
    found: list[Settings] = []
    for _ in range(0, trials, together):
        asked = suggestions.ask(together)
        found += asked
        suggestions.tell([told(each) for each in asked])
    return found


def test_suggestions_are_in_range_and_of_their_kind() -> None:
    for each in searched(40):
        assert each["trainer.optimizer"] in ("adam", SGD)
        assert 1e-4 <= each["trainer.l2"] <= 1e4
        assert each["trainer.l2"] == float(f"{each['trainer.l2']:.4g}")
        assert each["trainer.epochs"] in range(1, 6)
        assert isinstance(each["trainer.epochs"], int)
        assert 0.5 <= each["trainer.momentum"] <= 0.99


@pytest.mark.parametrize("together", [1, 3])
def test_the_same_told_gives_the_same_suggested_and_more_keep_the_first(together: int) -> None:
    few, many = searched(12, together=together), searched(30, together=together)
    assert many[:12] == few
    assert searched(30, together=together) == many
    assert searched(12, seed=1, together=together) != few


def test_what_is_told_decides_what_is_suggested_once_the_start_is_over() -> None:
    upside_down = searched(30, told=lambda each: -height(each))
    assert upside_down[:10] == searched(30)[:10]
    assert upside_down[10:] != searched(30)[10:]


def test_suggestions_climb() -> None:
    gains = []
    for seed in range(5):
        heights = [height(each) for each in searched(50, seed=seed)]
        gains.append(float(np.mean(heights[-20:]) - np.mean(heights[:10])))
    assert min(gains) > 1.0  # of about 5 that there are to gain


def test_where_lower_is_better_they_climb_down() -> None:
    down = searched(30, lower=True, told=lambda each: -height(each))
    assert down == searched(30)


def test_a_setting_that_failed_teaches_nothing_and_stops_nothing() -> None:
    found = searched(25, told=lambda each: None if each["trainer.epochs"] == 3 else height(each))
    assert len(found) == 25


def test_without_optuna_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'al-orchestrator\[optuna\]'; or search at"):
        Suggestions(Suggested(), SPACE, lower_is_better=False)
