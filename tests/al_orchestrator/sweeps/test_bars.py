"""Bars of a sweep: each is the mean of the runs it stands for, and nothing is averaged silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.errors import ConfigError
from al_orchestrator.reports.runs import status_of
from al_orchestrator.reports.statistics import t_interval
from al_orchestrator.run_dir import Workspace
from al_orchestrator.sweeps import Plan, load_plan
from al_orchestrator.sweeps.bars import bar_chart

pytestmark = pytest.mark.torch

BASE = """\
dataset: {name: digits}
strategy: {name: random}
trainer: {name: linear_probe, encoder: {name: resnet10_narrow, width: 4}}
budget: {initial: 20, batch_size: 10, rounds: 1}
executor: in_process
tracking: {name: nothing}
"""
AXES = """\
base: base.yaml
axes:
  penalty: {weak: {trainer.l2: 0.01}, strong: {trainer.l2: 100.0}, huge: {trainer.l2: 1000000.0}}
  steps: {few: {trainer.max_iterations: 2}, many: {trainer.max_iterations: 60}}
seeds: 2
"""
ACCURACY, VALIDATION = "test/accuracy", "validation/accuracy"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of which two runs have not begun."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "base.yaml").write_text(BASE)
    (folder / "grid.yaml").write_text(AXES)
    for trial in load_plan(folder / "grid.yaml").trials:
        if trial.options != {"penalty": "huge", "steps": "many"}:
            with Experiment.open(trial.config, folder / "runs") as experiment:
                list(experiment.rounds())
    return folder / "grid.yaml"


@pytest.fixture
def plan(path: Path) -> Plan:
    return load_plan(path)


@pytest.fixture
def workspace(path: Path) -> Workspace:
    return Workspace(path.parent / "runs")


def final(workspace: Workspace, name: str, metric: str = ACCURACY) -> float:
    return status_of(workspace.run(name)).rounds[-1].metrics[metric]


def test_each_bar_is_the_mean_of_its_seeds_with_their_interval(
    plan: Plan, workspace: Workspace
) -> None:
    chart = bar_chart(plan, workspace, by="penalty", colour="steps", metrics=[ACCURACY])
    assert (chart.places, chart.colours) == (("weak", "strong", "huge"), ("few", "many"))
    assert [[bar is None for bar in group] for group in chart.bars] == [
        [False, False],
        [False, False],
        [False, True],
    ]
    for place, group in zip(chart.places, chart.bars, strict=True):
        for colour, bar in zip(chart.colours, group, strict=True):
            if bar is None:
                continue
            values = [final(workspace, f"grid-{place}-{colour}-s{seed}") for seed in (0, 1)]
            interval = t_interval(values)
            assert bar.values == tuple(values)
            assert (bar.mean, bar.low, bar.high) == (interval.mean, interval.low, interval.high)
    assert chart.left_out == 2
    assert (chart.labels, chart.caption) == ((20, 20), "after 20 labels")


def test_metrics_stand_beside_each_other_in_colour(plan: Plan, workspace: Workspace) -> None:
    chart = bar_chart(
        plan,
        workspace,
        by="penalty",
        metrics=[VALIDATION, ACCURACY],
        only={"steps": ["few"], "penalty": ["huge", "weak"]},
    )
    assert (chart.places, chart.colour, chart.colours) == (
        ("huge", "weak"),
        "metric",
        (VALIDATION, ACCURACY),
    )
    assert chart.measured == "accuracy"
    for metric, bar in zip(chart.colours, chart.bars[1], strict=True):
        assert bar is not None
        assert bar.values == tuple(
            final(workspace, f"grid-weak-few-s{seed}", metric) for seed in (0, 1)
        )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            {"by": "penalty"},
            "axis steps of sweep grid varies, too: .* --only steps=few, .*--colour",
        ),
        ({"by": "penalt"}, "has no axis 'penalt'; it has penalty, steps"),
        (
            {"by": "penalty", "only": {"steps": ["fewer"]}},
            "has no option 'fewer'; it has few, many",
        ),
        ({"by": "penalty", "only": {"step": ["few"]}}, "has no axis 'step'"),
        ({"by": "penalty", "colour": "penalty", "only": {"steps": ["few"]}}, "not both"),
        ({"by": "penalty", "colour": "steps", "metrics": [ACCURACY, VALIDATION]}, "not both"),
        (
            {"by": "penalty", "colour": "steps", "metrics": ["test/acc"]},
            "has no metric 'test/acc'; it has .*test/accuracy",
        ),
        (
            {"by": "penalty", "only": {"steps": ["many"], "penalty": ["huge"]}},
            "no run of sweep grid that is to be drawn has finished",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    plan: Plan, workspace: Workspace, asked: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        bar_chart(plan, workspace, **{"metrics": [ACCURACY], **asked})  # type: ignore[arg-type]


def test_the_command_writes_the_chart_and_its_numbers(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "penalties.svg"
    asked = ["bars", str(path), "--root", str(path.parent / "runs"), "--by", "penalty"]
    asked += ["--only", "steps=few", "--only", "penalty=weak,strong", "--out", str(out)]
    result = CliRunner().invoke(app, [*asked, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [bar["penalty"] for bar in told["bars"]] == ["weak", "strong"]
    assert told["bars"][0]["mean"] == pytest.approx(sum(told["bars"][0]["values"]) / 2)
    drawing = out.read_text()
    for bar in told["bars"]:
        assert f">{bar['mean']:.3f}</text>" in drawing
    assert ">huge</text>" not in drawing
    shown = CliRunner().invoke(app, asked)
    assert "weak" in shown.output
    assert "after 20 labels" in shown.output


@pytest.mark.parametrize("only", ["steps", "=few", "steps=few,"])
def test_a_malformed_choice_is_refused(path: Path, only: str) -> None:
    result = CliRunner().invoke(app, ["bars", str(path), "--by", "penalty", "--only", only])
    assert isinstance(result.exception, ConfigError)
    assert "write it as AXIS=OPTION" in str(result.exception)
