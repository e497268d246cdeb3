"""What is done against the protocol is refused unless declared, and then stands on every result."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from al_orchestrator import Experiment
from al_orchestrator.config import ExperimentConfig, identity_digest, marks_of, warnings_of
from al_orchestrator.errors import ConfigError
from al_orchestrator.pool import Pool
from al_orchestrator.reports import compare
from al_orchestrator.reports.card import card_of, protocol_card
from al_orchestrator.reports.page import run_page
from al_orchestrator.reports.runs import curve_of, status_of
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps import load_plan


def config_with(**fields: Any) -> ExperimentConfig:
    trainer = {
        "name": "fer_classifier",
        "encoder": {"name": "resnet10_narrow", "width": 4},
        "epochs": 2,
        "validate_every": 1,
    }
    return ExperimentConfig.model_validate(
        {
            "name": "mine",
            "dataset": {"name": "faces", "image_size": 16, "num_train": 60, "num_test": 21},
            "strategy": {"name": "margin"},
            "trainer": trainer,
            "budget": {"initial": 8, "batch_size": 4, "rounds": 2},
            "executor": "in_process",
            "tracking": {"name": "nothing"},
            **fields,
        }
    )


DEVIATIONS: dict[str, dict[str, Any]] = {
    "test_selection": {"validation": {"split": "test"}},
    "augmented_scoring": {"scoring": {"transform": "training"}},
}


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_a_deviation_is_refused_with_the_way_out_and_marked_once_declared(deviation: str) -> None:
    fields = DEVIATIONS[deviation]
    with pytest.raises(ValidationError, match=rf"protocol\.allow: \[{deviation}\]"):
        config_with(**fields)
    others = [each for each in DEVIATIONS if each != deviation]
    with pytest.raises(ValidationError, match="every result is marked"):
        config_with(**fields, protocol={"allow": others})
    [mark] = marks_of(config_with(**fields, protocol={"allow": [deviation]}))
    assert mark


def test_a_rule_that_reads_the_test_set_has_to_be_declared() -> None:
    stop = [{"name": "target", "metric": "test/accuracy", "value": 0.9}]
    with pytest.raises(ValidationError, match=r"protocol\.allow: \[test_selection\]"):
        config_with(stop=stop)
    [mark] = marks_of(config_with(stop=stop, protocol={"allow": ["test_selection"]}))
    assert "when a run ends" in mark


def test_a_validation_set_that_is_the_test_set_leaves_a_mark_wherever_it_decides() -> None:
    on_test = {"validation": {"split": "test"}, "protocol": {"allow": ["test_selection"]}}
    stop = [{"name": "target", "metric": "validation/accuracy", "value": 0.9}]
    marks = marks_of(config_with(**on_test, strategy={"name": "glister"}, stop=stop))
    assert len(marks) == 3
    assert all("test set" in mark for mark in marks)


def test_attacks_see_no_views_so_none_are_declared() -> None:
    with pytest.raises(ValidationError, match="would not reach deepfool"):
        config_with(
            strategy={"name": "deepfool"},
            scoring={"transform": "training"},
            protocol={"allow": ["augmented_scoring"]},
        )


def test_what_is_allowed_and_not_done_leaves_no_mark() -> None:
    assert marks_of(config_with(protocol={"allow": ["test_selection", "augmented_scoring"]})) == ()


def test_a_probe_sees_no_views_and_says_so() -> None:
    with pytest.raises(ValidationError, match="linear_probe, which sees no random views"):
        config_with(
            trainer={"name": "linear_probe"},
            scoring={"transform": "training"},
            protocol={"allow": ["augmented_scoring"]},
        )


def test_balancing_the_seed_set_and_keeping_leaks_are_marks() -> None:
    faces = {"name": "faces", "image_size": 16, "num_train": 60}
    kept = {**faces, "duplicates": {"across_splits": "keep"}}
    marks = marks_of(config_with(seed_set={"name": "stratified"}, dataset=kept))
    assert [mark.split()[1] for mark in marks] == ["seed", "images"]


def test_saying_where_settings_come_from_is_no_other_experiment() -> None:
    declared = config_with(protocol={"settings_from": "alo tune find.yaml"})
    assert identity_digest(declared) == identity_digest(config_with())
    assert any("settings_from" in each for each in warnings_of(config_with(), 40))
    assert warnings_of(declared, 40) == ()
    assert "more than five times" in warnings_of(declared, 41)[0]


def test_a_sweep_that_gives_strategies_their_own_settings_has_to_declare_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "dataset: {name: digits}\nstrategy: {name: random}\ntrainer: {name: linear_probe}\n"
        "budget: {initial: 10, batch_size: 5, rounds: 3}\n"
    )
    text = (
        "base: base.yaml\nseeds: 2\naxes:\n  way:\n    plain: {}\n"
        "    tuned: {strategy.name: margin, trainer.l2: 3.0}\n"
    )
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"sets the strategy and trainer\.l2.*strategy_tuning"):
        load_plan(path)
    split = text.replace("plain: {}", "plain: {strategy.name: badge}").replace(
        "strategy.name: margin, ", ""
    )
    path.write_text(split)  # what differs between the options is what counts
    with pytest.raises(ConfigError, match="strategy_tuning"):
        load_plan(path)
    path.write_text(text + "set: {protocol.allow: [strategy_tuning]}\n")
    plan = load_plan(path)
    assert marks_of(plan.trials[0].config) == ("strategies may have settings of their own",)


@pytest.mark.torch
def test_a_declared_deviation_takes_effect_and_stands_on_page_card_and_curves(
    tmp_path: Path,
) -> None:
    config = config_with(
        validation={"split": "test", "size": 21},
        scoring={"transform": "training"},
        protocol={"allow": ["test_selection", "augmented_scoring"], "settings_from": "a guess"},
        stop=[{"name": "target", "metric": "test/accuracy", "value": 1.0}],
    )
    with Experiment.open(config, root=tmp_path) as experiment:
        reports = list(experiment.rounds())
        run = experiment.run
    metrics = reports[-1].metrics
    assert "chosen_by_test/test/accuracy" in metrics
    assert not [name for name in metrics if name.startswith("best/")]
    assert metrics["validation/accuracy"] == metrics["test/accuracy"]  # the very same images
    status = status_of(run)
    curve = curve_of(status, "margin")
    assert compare([curve], "test/accuracy").watermark == (
        "epochs were chosen by the test set; the pool was scored under augmentation; "
        "the test set had a say in when a run ends"
    )
    workspace = Workspace(tmp_path)
    card = protocol_card(workspace, [curve])
    assert card == card_of(workspace, [status])
    assert card["against the protocol"].startswith("epochs were chosen by the test set")
    assert card["test set"].startswith("epochs were chosen by the test set")
    assert card["settings come from"] == "a guess"
    assert card["pool scored by"] == "training transform"
    page = run_page(run)
    assert page.index("epochs were chosen by the test set") < page.index("Learning curve")


@pytest.mark.torch
def test_a_mark_stays_when_the_configuration_no_longer_says_so(tmp_path: Path) -> None:
    rule = [{"name": "target", "metric": "test/accuracy", "value": 0.0}]
    marked = config_with(stop=rule, protocol={"allow": ["test_selection"]})
    with Experiment.open(marked, root=tmp_path) as experiment:
        assert len(list(experiment.rounds())) == 1
    plain = config_with(budget={"initial": 8, "batch_size": 4, "rounds": 1})
    with Experiment.open(plain, root=tmp_path) as experiment:
        list(experiment.rounds())
        run = experiment.run
    status = status_of(run)
    assert status.marks == ("the test set had a say in when a run ends",)
    assert compare([curve_of(status, "margin")], "test/accuracy").marks == status.marks
    with sqlite3.connect(run.ledger) as ledger:
        told = ledger.execute("SELECT payload FROM outbox WHERE kind = 'run'").fetchall()
    assert {"alo.marks": status.marks[0]} in [json.loads(text)["tags"] for (text,) in told]
    assert card_of(Workspace(tmp_path), [status])["test set"] == status.marks[0]


@pytest.mark.torch
def test_the_pool_is_seen_under_views_and_the_learner_does_not_change(tmp_path: Path) -> None:
    plain = {"name": "plain"}
    marked = {
        "name": "marked",
        "scoring": {"transform": "training"},
        "protocol": {"allow": ["augmented_scoring"]},
    }
    scored = []
    for fields in (plain, marked, {**marked, "name": "again"}):
        with Experiment.open(config_with(**fields), root=tmp_path) as experiment:
            first = next(iter(experiment.rounds()))
            with Pool(experiment.run.ledger, read_only=True) as pool:
                scored.append((first.metrics, [each.score for each in pool.acquired(1)]))
    (metrics, plainly), (same, viewed), (_, again) = scored
    assert metrics == same
    assert plainly != viewed
    assert viewed == again
