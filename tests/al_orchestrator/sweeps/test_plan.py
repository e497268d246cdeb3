"""A sweep's YAML and the runs it stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from al_orchestrator.config import load_config
from al_orchestrator.errors import ConfigError
from al_orchestrator.sweeps import is_sweep, load_plan
from al_orchestrator.sweeps.curves import compared_axes, default_baseline

PRESETS = Path(__file__).parents[3] / "experiments"
BASE = """\
dataset: {name: faces, image_size: 16, num_train: 60, num_val: 10, num_test: 20}
strategy: {name: random}
trainer:
  name: fer_classifier
  encoder: {name: resnet10_narrow, width: 4, pretrain: {name: simclr, epochs: 2, seed: 3}}
budget: {initial: 10, batch_size: 5, rounds: 3}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "base.yaml").write_text(BASE)
    path = folder / "grid.yaml"
    path.write_text("base: base.yaml\n" + text)
    return path


def test_every_combination_is_a_run_and_small_seeds_come_first(tmp_path: Path) -> None:
    plan = load_plan(
        write(
            tmp_path,
            "axes:\n"
            "  strategy: [random, {name: badge}]\n"
            "  trainer.optimizer.lr: [0.1, 0.01]\n"
            "seeds: [4, 7]\n",
        )
    )
    assert [trial.name for trial in plan.trials] == [
        "grid-random-lr0.1-s4",
        "grid-random-lr0.01-s4",
        "grid-badge-lr0.1-s4",
        "grid-badge-lr0.01-s4",
        "grid-random-lr0.1-s7",
        "grid-random-lr0.01-s7",
        "grid-badge-lr0.1-s7",
        "grid-badge-lr0.01-s7",
    ]
    last = plan.trials[-1]
    assert last.config.strategy.name == "badge"
    assert last.config.model_dump()["trainer"]["optimizer"]["lr"] == 0.01
    assert last.options == {"strategy": "badge", "trainer.optimizer.lr": "lr0.01"}


def test_an_option_sets_several_fields_and_takes_some_away(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "axes:\n"
        "  encoder:\n"
        "    scratch: {trainer.encoder.pretrain: null, trainer.epochs: 9}\n"
        "    longer: {trainer.encoder.pretrain.epochs: 5}\n"
        "    simclr: {}\n"
        "seeds: 1\n",
    )
    scratch, longer, simclr = (t.config.model_dump()["trainer"] for t in load_plan(path).trials)
    assert scratch["encoder"]["pretrain"] is None
    assert scratch["epochs"] == 9
    assert longer["encoder"]["pretrain"]["epochs"] == 5
    assert simclr["encoder"]["pretrain"]["epochs"] == 2  # what others set does not leak


def test_paths_start_where_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "base.yaml").write_text(
        BASE.replace("{name: faces", "{name: image_folder, path: faces} #")
    )
    path = tmp_path / "below" / "grid.yaml"
    path.write_text(
        "base: ../base.yaml\nseeds: 1\naxes:\n  encoder:\n"
        "    mine: {trainer.encoder: {name: resnet10_narrow, weights: mine.pt}}\n"
    )
    fields = load_plan(path).trials[0].config.model_dump(mode="json")
    assert fields["dataset"]["path"] == str(tmp_path / "faces")
    assert fields["trainer"]["encoder"]["weights"] == str(tmp_path / "below" / "mine.pt")


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    path = write(
        tmp_path, "set: {budget.rounds: 4}\naxes: {strategy: [random, margin]}\nseeds: 1\n"
    )
    plan = load_plan(path, ["budget.rounds=2"])
    assert {trial.config.budget.rounds for trial in plan.trials} == {2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("axes: {strategy: [bagde]}", "did you mean 'badge'?"),
        ("axes: {strategy: []}", "axis strategy has no options"),
        ("axes: {seed: [1, 2]}", "seeds have a key of their own"),
        ("axes: {encoder: [a, b]}", "the experiment has no such field"),
        ("axes: {encoder: {a: 1}}", "option a is to map fields to values"),
        ("axes: {strategy: [margin, margin]}", "two options have the same name"),
        ("axes: {x: {a: {}, b: {}}}", "are the same experiment"),
        ("axes: {x: {'?': {}}}", "cannot name a run"),
        ("axes: {x: {a: {trainer.epoks: 1}}}", "did you mean 'epochs'?"),
        ("seeds: [1, 1]", "repeat themselves"),
        ("seeds: 0", "seeds"),
        ("sedes: 3", "does not describe a sweep"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        load_plan(write(tmp_path, text + "\n"))


def test_axes_that_set_the_budget_alone_are_regimes(tmp_path: Path) -> None:
    plan = load_plan(
        write(
            tmp_path,
            "axes:\n"
            "  regime: {low: {budget.initial: 5}, high: {budget.initial: 20}}\n"
            "  encoder: {scratch: {trainer.encoder.pretrain: null}, simclr: {}}\n"
            "  strategy: [random, margin]\n",
        )
    )
    assert plan.regimes == {"regime"}
    assert len(plan.trials) == 2 * 2 * 2 * 5
    assert compared_axes(plan, []) == ["strategy"]
    assert default_baseline(plan, ["strategy"]) is None
    assert default_baseline(plan, ["encoder"]) == "scratch"
    with pytest.raises(ConfigError, match="no axis 'encodr'; it has regime, encoder, strategy"):
        compared_axes(plan, ["encodr"])
    with pytest.raises(ConfigError, match="its options are regimes"):
        compared_axes(plan, ["regime"])


@pytest.mark.parametrize("path", sorted((PRESETS / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_presets_expand(path: Path) -> None:
    assert is_sweep(path)
    plan = load_plan(path)
    assert len({trial.name for trial in plan.trials}) == len(plan.trials) > 1


def test_an_experiment_is_no_sweep() -> None:
    path = PRESETS / "quickstart.yaml"
    assert not is_sweep(path)
    with pytest.raises(ConfigError, match="not a sweep: alo run"):
        load_plan(path)
    load_config(path)
