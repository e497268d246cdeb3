"""An encoder is pretrained once, handed over to every round, and proved to be the one."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from al_orchestrator import Experiment
from al_orchestrator.cli import app
from al_orchestrator.config import ExperimentConfig, load_config
from al_orchestrator.encoder_store import EncoderStore
from al_orchestrator.errors import ConfigError, InvariantBroken
from al_orchestrator.pretraining import pretrain
from trainers import FERClassifier, PretrainTask, TrainTask
from trainers.deep import checkpoints

pytestmark = pytest.mark.torch

PRESETS = Path(__file__).parents[2] / "experiments" / "tiny"
SIMCLR = {"name": "simclr", "epochs": 2, "batch_size": 64, "projection": 8}
NARROW = {"name": "resnet10_narrow", "width": 4}
SMALL: dict[str, Any] = {
    "dataset": {"name": "faces", "image_size": 16, "num_train": 200, "num_val": 40, "num_test": 50},
    "strategy": {"name": "margin"},
    "trainer": {
        "name": "fer_classifier",
        "encoder": {**NARROW, "pretrain": SIMCLR},
        "epochs": 2,
        "batch_size": 16,
    },
    "budget": {"initial": 20, "batch_size": 10, "rounds": 3},
    "executor": "in_process",
    "tracking": {"name": "nothing"},
}
PROBE = {"name": "linear_probe", "encoder": {**NARROW, "pretrain": SIMCLR}}


def configured(name: str, **fields: object) -> ExperimentConfig:
    return ExperimentConfig.model_validate({**SMALL, "name": name, **fields})


@contextmanager
def opened(root: Path, name: str, **fields: object) -> Iterator[Experiment]:
    with Experiment.open(configured(name, **fields), root=root) as experiment:
        yield experiment


def stages(experiment: Experiment, name: Any, rounds: int = 3) -> list[Mapping[str, Any]]:
    pool = experiment._rooms.pool
    return [pool.stage(number, name) or {} for number in range(rounds)]


@pytest.mark.parametrize(
    "trainer",
    [
        SMALL["trainer"],
        PROBE,
        {"name": "ensemble", "members": 2, "bootstrap": True, "member": PROBE},
    ],
    ids=lambda fields: str(fields["name"]),
)
def test_every_round_starts_from_the_stored_encoder(
    tmp_path: Path, trainer: dict[str, Any]
) -> None:
    with opened(tmp_path, "run", trainer=trainer) as experiment:
        assert len(list(experiment.rounds())) == 3
        recorded = stages(experiment, "pretrain")[0]
        expected = experiment._rooms.config.trainer.starts_from(recorded["digest"])
        assert {each["encoder_digest"] for each in stages(experiment, "train")} == {expected}
        assert recorded["epochs"] == 2
    (stored,) = EncoderStore(tmp_path / "encoders").entries()
    assert stored.key == recorded["key"]
    assert stored.images == 200
    assert stored.labels == 0
    content = checkpoints.load(stored.path)["weights"]
    assert isinstance(content, dict)
    bare = {name.removeprefix("encoder."): tensor for name, tensor in content.items()}
    assert checkpoints.digest_of_weights(bare) == stored.digest == recorded["digest"]


def test_a_trainer_that_resets_its_weights_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ActiveFER did: every module drawn anew before the first step."""
    import trainers.deep.start as start
    from trainers.deep.networks import build_network
    from trainers.deep.seeding import generator

    monkeypatch.setattr(
        start, "fresh_network", lambda plan, _, seed: build_network(plan, generator(seed, "init"))
    )
    with (
        pytest.raises(InvariantBroken, match="should start from the pretrained encoder"),
        opened(tmp_path, "reset") as experiment,
    ):
        list(experiment.rounds())


def test_experiments_of_one_recipe_share_one_encoder(tmp_path: Path) -> None:
    for name, strategy in (("first", "margin"), ("second", "entropy")):
        with opened(tmp_path, name, strategy={"name": strategy}) as experiment:
            list(experiment.rounds())
            if name == "second":
                assert experiment._rooms.pool.attempts(0, "pretrain") == []
    store = EncoderStore(tmp_path / "encoders")
    assert len(store.entries()) == 1
    pretrain(configured("other-seed", seed=1), tmp_path)
    assert len(store.entries()) == 2
    fixed = {**SMALL["trainer"], "encoder": {**NARROW, "pretrain": {**SIMCLR, "seed": 1}}}
    pretrain(configured("fixed-seed", trainer=fixed), tmp_path)
    assert len(store.entries()) == 2
    assert len({stored.digest for stored in store.entries()}) == 2


def test_a_lost_encoder_is_made_again_and_comes_out_the_same(tmp_path: Path) -> None:
    with opened(tmp_path, "run", budget={"initial": 20, "batch_size": 10, "rounds": 1}) as first:
        list(first.rounds())
        before = stages(first, "pretrain", 1)[0]
    shutil.rmtree(tmp_path / "encoders")
    with opened(tmp_path, "run") as second:
        assert len(list(second.rounds())) == 3
        assert stages(second, "pretrain")[0] == before
    (stored,) = EncoderStore(tmp_path / "encoders").entries()
    assert stored.digest == before["digest"]


def test_damage_to_an_encoder_is_seen(tmp_path: Path) -> None:
    stored, is_new = pretrain(configured("run"), tmp_path)
    assert is_new
    stored.path.write_bytes(stored.path.read_bytes()[:-1] + b"x")
    again, is_new = pretrain(configured("run"), tmp_path)
    assert is_new
    assert again.digest == stored.digest


def test_pretraining_sees_the_pool_alone_and_no_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainers import pretraining

    tasks: list[PretrainTask] = []
    real = pretraining.Pretrainer.pretrain

    def spy(self: Any, encoder: Any, task: PretrainTask) -> Any:
        tasks.append(task)
        return real(self, encoder, task)

    monkeypatch.setattr(pretraining.Pretrainer, "pretrain", spy)
    with opened(tmp_path, "simclr") as experiment:
        list(experiment.rounds())
        manifest, splits = experiment._rooms.data.manifest, experiment._rooms.splits
        assert set(manifest.ids[tasks[0].rows]) == set(splits.pool)
        assert not set(manifest.ids[tasks[0].rows]) & {*splits.validation, *splits.test}
    assert len(tasks[0].labelled) == 0

    supcon = {**SIMCLR, "name": "supcon"}
    trainer = {**SMALL["trainer"], "encoder": {**NARROW, "pretrain": supcon}}
    with opened(tmp_path, "supcon", trainer=trainer) as experiment:
        list(experiment.rounds())
        seed_set = {sample.id for sample in experiment._rooms.pool.acquired(0)}
        assert set(manifest.ids[tasks[1].labelled.rows]) == seed_set
        assert len(seed_set) == 20
        assert stages(experiment, "pretrain")[0]["labels"] == 20


def test_a_seed_set_may_look_at_the_pretrained_embeddings(tmp_path: Path) -> None:
    seed_set = {"name": "typiclust", "embedding": "encoder"}
    with opened(tmp_path, "cold", seed_set=seed_set) as experiment:
        assert len(list(experiment.rounds())) == 3
        assert experiment._rooms.pool.attempts(0, "pretrain") == [1]
    supcon = {**SIMCLR, "name": "supcon"}
    trainer = {**SMALL["trainer"], "encoder": {**NARROW, "pretrain": supcon}}
    with pytest.raises(ValueError, match="learns from the seed set's labels"):
        configured("circle", seed_set=seed_set, trainer=trainer)


def test_warm_starts_begin_at_the_encoder_and_go_on_from_the_last_round(tmp_path: Path) -> None:
    trainer = {**SMALL["trainer"], "weights": "warm_start"}
    with opened(tmp_path, "warm", trainer=trainer) as experiment:
        list(experiment.rounds())
        trained = stages(experiment, "train")
        assert trained[0]["encoder_digest"] == stages(experiment, "pretrain")[0]["digest"]
        assert trained[1]["initial_digest"] == trained[0]["checkpoint_digest"]


def test_what_cannot_be_pretrained_is_refused_before_anything_is_created(tmp_path: Path) -> None:
    simfle = {"name": "simfle", "groups": 5, "face_mae": "tiny"}
    trainer = {**SMALL["trainer"], "encoder": {**NARROW, "pretrain": simfle}}
    with (
        pytest.raises(ConfigError, match="does not divide"),
        opened(tmp_path / "a", "run", trainer=trainer),
    ):
        pass
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match="pretrains nothing"):
        pretrain(configured("bare", trainer={"name": "linear_probe"}), tmp_path / "b")


def test_the_encoder_reaches_the_fit_through_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path | None] = []
    real = FERClassifier.fit

    def spy(self: FERClassifier, task: TrainTask) -> Any:
        seen.append(self.encoder.weights)
        return real(self, task)

    monkeypatch.setattr(FERClassifier, "fit", spy)
    with opened(tmp_path, "run") as experiment:
        list(experiment.rounds())
    (stored,) = EncoderStore(tmp_path / "encoders").entries()
    assert seen == [stored.path] * 3


@pytest.mark.parametrize("preset", sorted(path.name for path in PRESETS.glob("pretrain_*.yaml")))
def test_a_tiny_preset_runs_to_its_end(tmp_path: Path, preset: str) -> None:
    changes = ["executor=in_process", "tracking={name: nothing}", "budget.rounds=2"]
    changes += ["dataset.num_train=400", "dataset.num_test=100"]
    config = load_config(PRESETS / preset, changes)
    if isinstance(config.trainer, FERClassifier):
        config = load_config(PRESETS / preset, [*changes, "trainer.epochs=2"])
    with Experiment.open(config, root=tmp_path) as experiment:
        done = list(experiment.rounds())
    assert len(done) == 2
    (stored,) = EncoderStore(tmp_path / "encoders").entries()
    history = stored.history()
    assert len(history) == stored.epochs
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_command_line_pretrains_lists_and_shows(tmp_path: Path) -> None:
    runner, root = CliRunner(), str(tmp_path / "runs")
    overrides = ["--set", "executor=in_process", "--root", root]
    preset = str(PRESETS / "pretrain_simclr.yaml")
    made = runner.invoke(app, ["pretrain", preset, *overrides, "--json"])
    assert made.exit_code == 0, made.output
    encoder = json.loads(made.stdout)
    assert encoder["is_new"]
    again = runner.invoke(app, ["pretrain", preset, *overrides])
    assert "it is there already" in again.output
    listed = runner.invoke(app, ["encoders", "list", "--root", root])
    assert encoder["key"][:12] in listed.output
    shown = runner.invoke(app, ["encoders", "show", encoder["key"][:6], "--root", root])
    assert encoder["digest"][:16] in shown.output
    assert "effective_rank" in shown.output
    assert " epochs" in shown.output.splitlines()[-1]
    with pytest.raises(ConfigError, match="there is no workspace"):
        runner.invoke(app, ["encoders", "list", "--root", f"{root}-typo"], catch_exceptions=False)
    with pytest.raises(ConfigError, match="no encoder begins"):
        runner.invoke(app, ["encoders", "show", "zz", "--root", root], catch_exceptions=False)


def test_the_encoder_is_not_the_one_before_its_training(tmp_path: Path) -> None:
    stored, _ = pretrain(configured("run"), tmp_path)
    content = checkpoints.load(stored.path)["weights"]
    assert isinstance(content, dict)
    assert all(torch.isfinite(tensor.float()).all() for tensor in content.values())
    assert stored.epochs == 2
    assert stored.steps == 6


def test_an_imported_encoder_is_written_under_our_names_and_accounted_for(tmp_path: Path) -> None:
    stored, _ = pretrain(configured("run"), tmp_path / "runs")
    content = checkpoints.load(stored.path)["weights"]
    assert isinstance(content, dict)
    foreign = {name.replace("encoder.", "encoder.module."): t for name, t in content.items()}
    foreign |= {"head.0.weight": torch.zeros(2), "extra": torch.zeros(2)}
    torch.save({"model": foreign}, tmp_path / "last.pth")
    options = ["--network", "resnet10_narrow", "--width", "4"]
    command = [
        "encoders",
        "import",
        str(tmp_path / "last.pth"),
        str(tmp_path / "ours.pt"),
        *options,
    ]
    runner = CliRunner()
    with pytest.raises(ConfigError, match="extra"):
        runner.invoke(app, command, catch_exceptions=False)
    done = runner.invoke(app, [*command, "--allow-unexpected", "extra", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert len(report["matched"]) == len(content)
    assert report["ignored"] == ["extra", "head.0.weight"]
    imported = checkpoints.load(tmp_path / "ours.pt")
    assert isinstance(imported["meta"], dict)
    assert imported["meta"]["digest"] == stored.digest
    lacking = {name: t for name, t in foreign.items() if "layer2.0.conv1" not in name}
    torch.save({"model": lacking}, tmp_path / "lacking.pth")
    allowed = ["--allow-unexpected", "extra", "--allow-missing", "layer2.0.*"]
    into = str(tmp_path / "lacking.pt")
    asked = ["encoders", "import", str(tmp_path / "lacking.pth"), into, *options, *allowed]
    done = runner.invoke(app, asked)
    assert done.exit_code == 0, done.output
    [line] = [line for line in done.output.splitlines() if line.startswith("use it: ")]
    sets = shlex.split(line.removeprefix("use it: "))[1::2]
    yaml = str(PRESETS / "smoke.yaml")
    checked = runner.invoke(app, ["config", "check", yaml, *(f"--set={each}" for each in sets)])
    assert checked.exit_code == 0, checked.output
    assert "width: 4" in checked.output
    assert "layer2.0.*" in checked.output
    for wrong in (["--network", "resnet19"], ["--network", "resnet18", "--width", "32"]):
        found = runner.invoke(app, ["encoders", "import", "a.pth", "b.pt", *wrong])
        assert isinstance(found.exception, ConfigError)
        assert "pydantic" not in str(found.exception)


def test_validation_labels_are_looked_at_only_where_that_is_asked_for(tmp_path: Path) -> None:
    trainer = {**PROBE, "encoder": {**NARROW, "pretrain": {**SIMCLR, "watch_every": 1}}}
    stored, _ = pretrain(configured("watched", trainer=trainer), tmp_path)
    assert all("watched/knn_accuracy" in record for record in stored.history())
    assert stored.notes["watched"] == "40 labels of the validation set"
    blind = configured("blind", trainer=trainer, validation={"size": 0})
    with pytest.raises(ConfigError, match="watch_every needs a validation set"):
        pretrain(blind, tmp_path)


@pytest.mark.ray
@pytest.mark.slow
def test_several_workers_pretrain_one_encoder(
    tmp_path: Path, ray_of: Callable[[int], None]
) -> None:
    ray_of(2)
    shared = {**SIMCLR, "workers": 2}
    fields: dict[str, Any] = {
        "trainer": {**SMALL["trainer"], "encoder": {**NARROW, "pretrain": shared}},
        "executor": "ray",
        "resources": {"workers": 2, "cpus_per_worker": 1, "device": "cpu"},
        "budget": {"initial": 20, "batch_size": 10, "rounds": 1},
    }
    with opened(tmp_path, "run", **fields) as experiment:
        assert len(list(experiment.rounds())) == 1
    (stored,) = EncoderStore(tmp_path / "encoders").entries()
    assert stored.notes["processes"] == "2"
    assert len(stored.history()) == 2
    # How many made it does not make it another encoder.
    alone = configured("alone", trainer=SMALL["trainer"])
    again, is_new = pretrain(alone, tmp_path)
    assert (again.digest, is_new) == (stored.digest, False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"executor": "in_process"}, "executor in_process runs one call at a time"),
        ({"executor": "ray"}, "pretrain.workers is 3 and resources.workers 1"),
    ],
)
def test_more_workers_than_can_run_at_once_are_refused(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    shared = {**NARROW, "pretrain": {**SIMCLR, "workers": 3}}
    trainer = {**SMALL["trainer"], "encoder": shared}
    with (
        pytest.raises(ConfigError, match=words),
        opened(tmp_path, "run", trainer=trainer, **fields),
    ):
        pass
