"""A search: the same settings each time, by the validation set alone, and nothing tried twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.errors import ConfigError
from al_orchestrator.reports.runs import status_of
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps import Plan, Standing, load_plan, standings
from al_orchestrator.sweeps.searches import Range
from al_orchestrator.sweeps.tuning import Tuning, load_tuning, tune

PRESET = Path(__file__).parents[3] / "experiments/searches/tiny_probe.yaml"
BASE = """\
dataset: {name: digits}
strategy: {name: badge}
trainer: {name: linear_probe, encoder: {name: resnet10_narrow, width: 4}, max_iterations: 90}
budget: {initial: 20, batch_size: 20, rounds: 4}
validation: {size: 60}
executor: in_process
tracking: {name: nothing}
"""


def search(folder: Path, text: str, base: str = BASE) -> Tuning:
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    (folder / "find.yaml").write_text("base: base.yaml\n" + text, encoding="utf-8")
    return load_tuning(folder / "find.yaml")


GRID = "search: {name: grid}\n"
HALVING = """\
space: {trainer.l2: {low: 0.001, high: 1000.0, log: true}}
search: {name: halving, trials: 4, factor: 2, field: trainer.max_iterations}
"""


class Driver:
    """Runs what is left of a plan in this process, and counts."""

    def __init__(self, root: Path, failing: str = "") -> None:
        self.root, self.failing = root, failing
        self.plans: list[Plan] = []
        self.runs: list[str] = []

    def __call__(self, plan: Plan) -> Sequence[Standing]:
        self.plans.append(plan)
        workspace = Workspace(self.root)
        for each in standings(workspace, plan.trials):
            if each.is_over or (self.failing and self.failing in each.trial.options["settings"]):
                continue
            self.runs.append(each.trial.name)
            with Experiment.open(each.trial.config, self.root) as experiment:
                assert len(list(experiment.rounds())) == 1
        return standings(workspace, plan.trials)


def test_settings_are_the_same_each_time_and_more_trials_keep_the_first(tmp_path: Path) -> None:
    space = (
        "space: {trainer.l2: {low: 0.01, high: 100.0, log: true}, trainer.encoder.width: [2, 4]}\n"
    )
    few = search(tmp_path, space + "search: {name: random, trials: 5}\n").settings()
    many = search(tmp_path, space + "search: {name: random, trials: 40}\n").settings()
    assert many[: len(few)] == few
    assert len(few) == 5
    values = [each["trainer.l2"] for each in many]
    assert all(0.01 <= value <= 100 for value in values)
    assert 0.25 < sum(value < 1 for value in values) / len(values) < 0.75  # log: half below 1
    assert {each["trainer.encoder.width"] for each in many} == {2, 4}
    other = search(tmp_path, space + "search: {name: random, trials: 5, seed: 1}\n").settings()
    assert other != few


def test_a_grid_is_every_combination(tmp_path: Path) -> None:
    text = "space: {trainer.l2: [0.1, 1.0, 10.0], trainer.encoder.width: [2, 4]}\n" + GRID
    found = search(tmp_path, text).settings()
    assert len(found) == 6
    assert found[1] == {"trainer.l2": 0.1, "trainer.encoder.width": 4}


@pytest.mark.parametrize(("low", "high"), [(1, 3), (5, 6)])
def test_whole_ends_give_whole_numbers_each_as_often(low: int, high: int) -> None:
    drawn = [Range(low=low, high=high).at(u / 1000) for u in range(1000)]
    counts = [drawn.count(value) for value in range(low, high + 1)]
    assert all(isinstance(value, int) for value in drawn)
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == 1000


def test_a_range_reaches_from_end_to_end() -> None:
    log = Range(low=1e-4, high=1.0, log=True)
    assert log.at(0.0) == 1e-4
    assert log.at(0.5) == pytest.approx(1e-2)
    assert log.at(math.nextafter(1, 0)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {strategy.name: [margin, random]}\n", "is not of the trainer"),
        (
            "space: {trainer.l2: [1.0]}\nmetric: test/accuracy\n",
            "the test set, which decides nothing",
        ),
        ("space: {trainer.l2: {low: 1, high: 2}}\nsearch: {name: grid}\n", "a grid needs lists"),
        ("space: {trainer.l2: {low: 2, high: 1}}\n", "must be below high"),
        ("space: {trainer.l2: {low: 0.0, high: 1, log: true}}\n", "log needs low > 0"),
        ("space: {trainer.l2: []}\n", "has no values"),
        ("space: {}\n", "space"),
        ("space: {trainer.lambda: [1]}\n", "there is no such key"),
        (
            "space: {trainer.l2: [1.0]}\nsearch: {name: halving, field: trainer.weights}\n",
            "is no whole number",
        ),
        (
            "space: {trainer.epochs: [1]}\nsearch: {name: halving}\n",
            "is what effort is measured in",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(tmp_path, text)


def test_other_files_are_told_from_a_search() -> None:
    with pytest.raises(ConfigError, match="is a search, not a sweep: alo tune"):
        load_plan(PRESET)
    presets = PRESET.parents[1]
    with pytest.raises(ConfigError, match="is a sweep, not a search: alo sweep"):
        load_tuning(presets / "sweeps/tiny_strategies.yaml")
    with pytest.raises(ConfigError, match="is an experiment, not a search: alo run"):
        load_tuning(presets / "quickstart.yaml")


def test_efforts_of_rungs_end_where_the_experiment_does(tmp_path: Path) -> None:
    assert search(tmp_path, HALVING).rungs() == [22, 45, 90]


@pytest.mark.torch
def test_the_best_is_what_its_ledgers_say_and_nothing_is_tried_twice(tmp_path: Path) -> None:
    tuning = search(
        tmp_path, "space: {trainer.l2: [0.01, 1.0, 1000000.0]}\nsearch: {name: grid}\nseeds: 2\n"
    )
    driver = Driver(tmp_path / "runs")
    tried = tune(tuning, driver.root, driver)
    assert len(driver.runs) == 6
    assert tried[-1].settings == {"trainer.l2": 1e6}  # a head of zeros
    workspace = Workspace(driver.root)
    for one in tried:
        trials = tuning.plan([one.settings], 0, None).trials
        runs = [workspace.run(trial.name) for trial in trials]
        values = [status_of(run).rounds[-1].metrics["validation/balanced_accuracy"] for run in runs]
        assert one.value == pytest.approx(sum(values) / 2)
        assert all(status_of(run).labels == 20 for run in runs)  # the seed set, and no query
    assert tune(tuning, driver.root, driver) == tried
    assert len(driver.runs) == 6


@pytest.mark.torch
def test_a_search_that_changes_never_takes_over_what_was_measured_of_another(
    tmp_path: Path,
) -> None:
    first = search(tmp_path, "space: {trainer.l2: [1.0, 1000000.0]}\n" + GRID)
    driver = Driver(tmp_path / "runs")
    before = {one.settings["trainer.l2"]: one.value for one in tune(first, driver.root, driver)}
    grown = search(tmp_path, "space: {trainer.l2: [1000000.0, 0.1, 1.0]}\n" + GRID)
    after = {one.settings["trainer.l2"]: one.value for one in tune(grown, driver.root, driver)}
    assert len(driver.runs) == 3  # only what is new
    assert {key: after[key] for key in before} == before
    other = BASE.replace("width: 4", "width: 2")
    changed = search(tmp_path, "space: {trainer.l2: [1.0]}\n" + GRID, other)
    [one] = tune(changed, driver.root, driver)
    assert one.value is None  # its ledger is of another experiment, which the sweep says


@pytest.mark.torch
def test_halving_goes_on_with_the_best_half_and_more_effort(tmp_path: Path) -> None:
    tuning = search(tmp_path, HALVING)
    driver = Driver(tmp_path / "runs")
    tried = tune(tuning, driver.root, driver)
    assert [len(plan.trials) for plan in driver.plans] == [4, 2, 1]
    assert [one.rung for one in tried] == [2, 1, 1, *[0] * 4]
    last = driver.plans[-1].trials[0].config
    assert last.model_dump()["trainer"]["max_iterations"] == 90
    first = sorted((one.value or 0 for one in tried if one.rung == 0), reverse=True)
    went_on = [one.settings for one in tried if one.rung == 1]
    kept = [one.value or 0 for one in tried if one.rung == 0 and one.settings in went_on]
    assert sorted(kept, reverse=True) == first[:2]


@pytest.mark.torch
def test_a_setting_whose_runs_fail_comes_last_and_never_wins(tmp_path: Path) -> None:
    tuning = search(tmp_path, "space: {trainer.l2: [0.01, 1.0]}\nsearch: {name: grid}\n")
    driver = Driver(tmp_path / "runs", failing="l2=0.01")
    tried = tune(tuning, driver.root, driver)
    assert [one.value is None for one in tried] == [False, True]


@pytest.mark.torch
def test_without_a_validation_set_there_is_nothing_to_tune_by(tmp_path: Path) -> None:
    grid = "space: {trainer.l2: [1.0]}\nsearch: {name: grid}\n"
    for settings, words in (("{size: 0}", "size is 0"), ("{merge: true}", "merge is true")):
        base = BASE.replace("validation: {size: 60}\n", f"validation: {settings}\n")
        with pytest.raises(ConfigError, match=rf"no validation set, as validation\.{words}"):
            search(tmp_path, grid, base)
    tuning = search(tmp_path, grid + "metric: validation/none\n")
    with pytest.raises(ConfigError, match=r"has no validation/none; it has .*test/"):
        tune(tuning, tmp_path / "runs", Driver(tmp_path / "runs"))


SUGGESTED = """\
space: {trainer.l2: {low: 0.001, high: 1000.0, log: true}, trainer.encoder.width: [2, 4]}
search: {name: optuna, trials: 6, startup: 3, together: %d}
"""


@pytest.mark.torch
@pytest.mark.parametrize("together", [1, 4])
def test_a_suggested_search_killed_and_begun_again_is_the_one_that_was_not(
    tmp_path: Path, together: int
) -> None:
    tuning = search(tmp_path, SUGGESTED % together)
    whole = Driver(tmp_path / "whole")
    tried = tune(tuning, whole.root, whole)
    assert len(tried) == len(whole.runs) == 6
    values = [one.value or 0.0 for one in tried]
    assert values == sorted(values, reverse=True)

    class Killed(Driver):
        def __call__(self, plan: Plan) -> Sequence[Standing]:
            if len(self.runs) >= 3:
                raise KeyboardInterrupt
            return super().__call__(plan)

    killed = Killed(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        tune(tuning, killed.root, killed)
    again = Driver(killed.root)
    assert tune(tuning, again.root, again) == tried
    assert killed.runs + again.runs == whole.runs
    assert tune(tuning, again.root, again) == tried
    assert len(killed.runs + again.runs) == 6


@pytest.mark.torch
def test_a_suggested_setting_that_fails_is_told_so_and_comes_last(tmp_path: Path) -> None:
    text = "space: {trainer.l2: [0.01, 1.0]}\nsearch: {name: optuna, trials: 8, startup: 2}\n"
    driver = Driver(tmp_path / "runs", failing="l2=0.01")
    tried = tune(search(tmp_path, text), driver.root, driver)
    assert [one.settings["trainer.l2"] for one in tried] == [1.0, 0.01]
    assert tried[-1].value is None
    assert len(driver.runs) == 1  # the same setting suggested again is not run again


def test_every_value_that_may_be_suggested_is_checked_before_anything_is_run(
    tmp_path: Path,
) -> None:
    for space in ("{trainer.l2: [1.0, 2.0, -1.0]}", "{trainer.l2: {low: -1.0, high: 1.0}}"):
        with pytest.raises(ConfigError, match="l2"):
            search(tmp_path, f"space: {space}\nsearch: {{name: optuna}}\n")


def test_a_dry_run_of_a_suggested_search_says_who_suggests(tmp_path: Path) -> None:
    search(tmp_path, SUGGESTED % 2)
    result = CliRunner().invoke(app, ["tune", str(tmp_path / "find.yaml"), "--dry-run"])
    assert "trainer.l2: 0.001 to 1000.0, logarithmic" in result.output
    assert "6 settings × 1 seeds, suggested by tpe, 2 at a time" in result.output


@pytest.mark.torch
def test_asynchronous_halving_goes_on_from_its_ledgers(tmp_path: Path) -> None:
    tuning = search(tmp_path, HALVING.replace("name: halving", "name: asha, together: 2"))
    undisturbed = tune(tuning, tmp_path / "alone", Driver(tmp_path / "alone"))
    assert {one.rung for one in undisturbed} >= {0, 1}
    assert undisturbed[0].rung == max(one.rung for one in undisturbed)

    class Killed(Exception):
        pass

    class Dying(Driver):
        def __call__(self, plan: Plan) -> Sequence[Standing]:
            if len(self.runs) >= 3:
                raise Killed
            return super().__call__(plan)

    with pytest.raises(Killed):
        tune(tuning, tmp_path / "runs", dying := Dying(tmp_path / "runs"))
    again = Driver(tmp_path / "runs")
    assert tune(tuning, tmp_path / "runs", again) == undisturbed
    assert not {*dying.runs} & {*again.runs}  # nothing is run twice


def test_a_dry_run_lists_what_would_be_tried(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["tune", str(PRESET), "--dry-run", "--root", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "6 settings × 2 seeds" in result.output
    assert not [*tmp_path.iterdir()]
