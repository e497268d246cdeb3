"""Names of groups, and curves read back from a mirror."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from al_orchestrator.errors import ConfigError
from al_orchestrator.reports import compare
from al_orchestrator.reports.groups import name_groups
from al_orchestrator.reports.tracked import curves_of_tracked
from al_orchestrator.tracking import TrackedRun


def fields(**changes: object) -> dict[str, object]:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return {"strategy.name": "margin", "seed": 0, "trainer.lr": 0.1, **named}


def test_a_group_is_the_strategy_and_what_else_differs_but_the_seed() -> None:
    runs = {
        "a": fields(seed=1),
        "b": fields(seed=2, trainer__lr=0.2),
        "c": fields(budget__initial=9),
    }
    assert name_groups(runs) == {
        "a": "margin trainer.lr=0.1",
        "b": "margin trainer.lr=0.2",
        "c": "margin trainer.lr=0.1",
    }


def test_a_strategys_own_fields_are_told_where_its_runs_differ_in_them() -> None:
    runs = {
        "a": fields(strategy__name="badge"),
        "b": fields(strategy__name="clue", strategy__temperature=1.0),
        "c": fields(strategy__name="clue", strategy__temperature=2.0),
    }
    assert name_groups(runs) == {
        "a": "badge",
        "b": "clue temperature=1.0",
        "c": "clue temperature=2.0",
    }


def tracked(
    strategy: str, seed: int, values: Mapping[int, float], *, marks: str = "", name: str = "run"
) -> TrackedRun:
    return TrackedRun(
        name=name,
        is_finished=True,
        params={
            "strategy.name": strategy,
            "seed": str(seed),
            "dataset.name": "faces",
            "name": name,
            "tracking.uri": f"{strategy}",  # operational: tells nothing
        },
        tags={
            "alo.run_key": f"{strategy}{seed}#12345678",
            "alo.dataset_fingerprint": "abcdef012345",
            **({"alo.marks": marks} if marks else {}),
        },
        metrics={"test/accuracy": values} if values else {},
    )


def test_runs_of_a_mirror_are_compared_like_others() -> None:
    runs = [
        tracked(strategy, seed, {30: end + seed / 10, 10: 0.1, 20: 0.2})
        for strategy, end in (("random", 0.3), ("margin", 0.5))
        for seed in range(3)
    ]
    curves = curves_of_tracked([*runs, tracked("badge", 0, {})])
    assert curves[0].labels.tolist() == [10, 20, 30]
    assert curves[0].metrics["test/accuracy"].tolist() == [0.1, 0.2, 0.3]
    comparison = compare(curves, "test/accuracy")
    [cell] = comparison.cells
    assert (cell.baseline, cell.dataset) == ("random", "faces abcdef")
    row = next(row for row in cell.rows if row.group == "margin")
    assert row.difference is not None
    assert row.difference.interval.mean == pytest.approx(0.05)
    assert comparison.marks == ()


def test_a_mark_in_the_mirror_stands_on_the_comparison() -> None:
    runs = [
        tracked("random", 0, {10: 0.1, 20: 0.2}),
        tracked("margin", 0, {10: 0.1, 20: 0.2}, marks="one; two"),
    ]
    assert compare(curves_of_tracked(runs), "test/accuracy").marks == ("one", "two")


def test_a_mirror_without_a_measured_run_says_so() -> None:
    with pytest.raises(ConfigError, match="no run of this experiment has been measured"):
        curves_of_tracked([tracked("badge", 0, {})])
