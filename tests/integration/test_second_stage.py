"""A second stage: on from a first run's checkpoint, with the val split in training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from al_orchestrator import Experiment
from al_orchestrator.ancestry import refusal_of_start
from al_orchestrator.checking import on_all_labels
from al_orchestrator.config import ExperimentConfig, marks_of
from al_orchestrator.datasets import pack
from al_orchestrator.errors import ConfigError, RunMismatch
from al_orchestrator.predicting import evaluate, learner_from_file, learner_of
from al_orchestrator.run_dir import Workspace

pytestmark = pytest.mark.torch

TRAINER: dict[str, Any] = {
    "name": "fer_classifier",
    "encoder": {"name": "resnet10_narrow", "width": 4},
    "epochs": 2,
}


def configured(name: str, **fields: object) -> ExperimentConfig:
    small: dict[str, Any] = {
        "name": name,
        "dataset": {
            "name": "faces", "image_size": 16, "num_train": 60, "num_val": 30, "num_test": 20,
        },
        "strategy": {"name": "random"},
        "trainer": TRAINER,
        "budget": {"initial": 20, "batch_size": 10, "rounds": 2},
        "validation": {"size": 30},
        "executor": "in_process",
        "tracking": {"name": "nothing"},
    }  # fmt: skip
    return ExperimentConfig.model_validate({**small, **fields})


def train(config: ExperimentConfig, root: Path) -> tuple[Path, dict[str, Any]]:
    """Its checkpoint and what is on record of its only training."""
    with Experiment.open(on_all_labels(config, root), root=root) as experiment:
        assert len(list(experiment.rounds())) == 1
        stage = dict(experiment._rooms.pool.stage(0, "train") or {})
        return experiment.run.folder / stage["checkpoint"], stage


def test_the_second_stage_starts_where_the_first_ended_and_learns_from_val_too(
    tmp_path: Path,
) -> None:
    checkpoint, first = train(configured("first"), tmp_path)
    assert {"validation/accuracy", "best/test/accuracy"} <= first["metrics"].keys()

    trainer = {**TRAINER, "weights": "warm_start", "start_from": checkpoint}
    second = configured("second", trainer=trainer, validation={"merge": True})
    _, done = train(second, tmp_path)
    assert done["initial_digest"] == first["checkpoint_digest"]
    assert done["checkpoint_digest"] != first["checkpoint_digest"]
    named = {name for name in done["metrics"] if name.startswith(("validation/", "best/"))}
    assert named == set()
    assert "test/accuracy" in done["metrics"]

    learners = {
        name: learner_of(Workspace(tmp_path).run(f"{name}-all")) for name in ("first", "second")
    }
    assert (learners["first"].labelled, learners["second"].labelled) == (60, 90)
    data = pack(second.dataset, tmp_path)
    assert evaluate(learners["first"], data, "val").images == 30
    assert evaluate(learners["second"], data, "test").images == 20
    with pytest.raises(
        ConfigError, match=r"second-all has learned from 30 of the 30 images of the val"
    ):
        evaluate(learners["second"], data, "val")
    # Nor under another name: in a dataset whose test split holds what was merged.
    roles = {"train": "train", "val": "test", "test": "val"}
    swapped = np.array([roles[split] for split in data.manifest.splits.tolist()])
    exchanged = replace(data, manifest=replace(data.manifest, splits=swapped))
    with pytest.raises(
        ConfigError, match=r"has learned from 30 of the 30 images of the test split"
    ):
        evaluate(learners["second"], exchanged, "test")
    assert evaluate(learners["first"], exchanged, "test").images == 30


def test_what_needs_a_validation_set_is_refused_where_it_is_merged() -> None:
    with pytest.raises(ValidationError, match="none to draw 5 images from"):
        configured("run", validation={"merge": True, "size": 5})
    plateau = {**TRAINER, "schedule": {"name": "plateau"}}
    several = {"name": "ensemble", "members": 2, "member": plateau}
    for trainer in (plateau, several):
        for validation, words in (({"merge": True}, "merge puts it"), ({"size": 0}, "size is 0")):
            with pytest.raises(ValidationError, match=f"plateau follows the val.*{words}"):
                configured("run", trainer=trainer, validation=validation)
    with pytest.raises(ValidationError, match="patience looks at the validation set"):
        configured("run", stop=[{"name": "patience"}], validation={"merge": True})


def test_a_schedule_without_a_val_split_to_follow_is_refused_with_the_data(tmp_path: Path) -> None:
    dataset = {"name": "faces", "image_size": 16, "num_train": 60, "num_val": 0, "num_test": 20}
    plateau = {**TRAINER, "schedule": {"name": "plateau"}}
    config = configured("run", trainer=plateau, validation={}, dataset=dataset)
    with pytest.raises(ConfigError, match="and the val split has no usable image"):
        Experiment.open(config, root=tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_start_that_does_not_fit_is_refused_before_a_run_is_created(tmp_path: Path) -> None:
    checkpoint, _ = train(configured("first"), tmp_path)
    wider = {**TRAINER, "encoder": {"name": "resnet10_narrow", "width": 8}}
    starts: list[tuple[dict[str, Any], Path, str]] = [
        (wider, checkpoint, "a warm start needs the same network"),
        (TRAINER, tmp_path / "nowhere.pt", "nowhere.pt"),
    ]
    for fields, file, words in starts:
        trainer = {**fields, "weights": "warm_start", "start_from": file}
        with pytest.raises(ConfigError, match=words):
            Experiment.open(configured("second", trainer=trainer), root=tmp_path)
    assert not (tmp_path / "second").exists()


def starting_at(file: Path, **fields: Any) -> ExperimentConfig:
    trainer = {**TRAINER, "weights": "warm_start", "start_from": file}
    return configured("second", trainer=trainer, **fields)


def rewritten(checkpoint: Path, **changes: Any) -> Path:
    """The same learner with another record; what is None is taken out of it."""
    content = torch.load(checkpoint, weights_only=True)
    meta = content["meta"]
    for name, value in changes.items():
        record = meta if name in {"mean", "std"} else meta["origin"]
        assert name in record
        record[name] = value
        if value is None:
            del record[name]
    file = checkpoint.with_name("rewritten.pt")
    torch.save(content, file)
    return file


def test_what_was_merged_once_validates_nothing_that_comes_after(tmp_path: Path) -> None:
    first, _ = train(configured("first"), tmp_path)
    merging = {**TRAINER, "weights": "warm_start", "start_from": first}
    config = configured("merged", trainer=merging, validation={"merge": True})
    second, _ = train(config, tmp_path)
    # Nothing of it is asked in the third stage itself, and all its rounds remember.
    config = starting_at(second, validation={"size": 0})
    with Experiment.open(config, root=tmp_path) as experiment:
        assert len(list(experiment.rounds())) == 2
    third = learner_of(Workspace(tmp_path).run("second"))
    data = pack(config.dataset, tmp_path)
    for checkpoint in (second, third.checkpoint):
        for validation in ({"size": 30}, {"size": 1}, {}):
            after = starting_at(checkpoint, validation=validation)
            after = after.model_copy(update={"name": "after"})
            size = validation.get("size", 30)
            words = rf"has learned from {size} of the {size} validation .* set validation.merge to"
            with pytest.raises(ConfigError, match=words):
                Experiment.open(after, root=tmp_path)
    with pytest.raises(ConfigError, match="has learned from 30 of the 30 images of the val split"):
        evaluate(third, data, "val")
    assert evaluate(third, data, "test").images == 20
    # By the images themselves: neither another dataset's name for them nor an adopted copy helps.
    roles = {"train": "train", "val": "test", "test": "val"}
    swapped = np.array([roles[split] for split in data.manifest.splits.tolist()])
    exchanged = replace(data, manifest=replace(data.manifest, splits=swapped))
    held_out = exchanged.manifest.ids[swapped == "test"]
    record = third.trainer.record_of(third.checkpoint)
    none = held_out[:0]
    reason = refusal_of_start(record, exchanged.manifest, validation=none, test=held_out)
    assert "30 of the 30 test images" in str(reason)
    assert refusal_of_start(record, data.manifest, validation=none, test=held_out[:0]) is None
    adopted = learner_from_file(third.checkpoint, configured("x"), data, tmp_path)
    with pytest.raises(ConfigError, match="has learned from 30 of the 30 images of the val split"):
        evaluate(adopted, data, "val")


def test_what_it_learned_from_under_other_splits_is_no_test_set_either(tmp_path: Path) -> None:
    few = {"name": "digits", "test_share": 0.1}
    first, _ = train(configured("first", dataset=few), tmp_path)
    splits = {"name": "digits", "test_share": 0.4}
    other = starting_at(first, dataset=splits, validation={"size": 0})
    with pytest.raises(ConfigError, match=r"from 361 of the 719 test images, .*other splits"):
        Experiment.open(other, root=tmp_path)
    learner = learner_of(Workspace(tmp_path).run("first-all"))
    with pytest.raises(ConfigError, match=r"361 of the 719 images of the test split, .*other"):
        evaluate(learner, pack(other.dataset, tmp_path), "test")
    assert evaluate(learner, pack(configured("first", dataset=few).dataset, tmp_path), "test")


@pytest.mark.parametrize("kind", ["fer_classifier", "linear_probe"])
def test_an_encoder_taken_out_of_a_learner_brings_what_it_has_learned_from(
    tmp_path: Path, kind: str
) -> None:
    merged, _ = train(configured("merged", validation={"merge": True}), tmp_path)
    encoder = {**TRAINER["encoder"], "weights": merged}
    own = {**TRAINER, "weights": "from_pretrained"} if kind == "fer_classifier" else {"name": kind}
    trainer = {**own, "encoder": encoder}
    with pytest.raises(ConfigError, match=r"encoder\.weights has learned from 30 of the 30 valid"):
        Experiment.open(configured("second", trainer=trainer), root=tmp_path)
    config = configured("second", trainer=trainer, validation={"size": 0})
    with Experiment.open(config, root=tmp_path) as experiment:
        list(experiment.rounds())
    learner = learner_of(Workspace(tmp_path).run("second"))
    with pytest.raises(ConfigError, match="has learned from 30 of the 30 images of the val split"):
        evaluate(learner, pack(config.dataset, tmp_path), "val")


def test_members_of_an_ensemble_start_under_the_same_rules(tmp_path: Path) -> None:
    first, _ = train(configured("first", validation={"merge": True}), tmp_path)
    member = {**TRAINER, "weights": "warm_start", "start_from": first}
    several = {"name": "ensemble", "members": 2, "member": member}
    with pytest.raises(ConfigError, match=r"learned from 30 of the 30 validation images"):
        Experiment.open(configured("several", trainer=several), root=tmp_path)
    config = configured("several", trainer=several, validation={"size": 0})
    with Experiment.open(config, root=tmp_path) as experiment:
        next(experiment.rounds())
    first.unlink()
    with Experiment.open(config, root=tmp_path) as experiment:
        assert list(experiment.rounds())
    assert "round 0 goes on from a learner of elsewhere" in marks_of(config)
    learner = learner_of(Workspace(tmp_path).run("several"))
    with pytest.raises(ConfigError, match="has learned from 30 of the 30 images of the val split"):
        evaluate(learner, pack(config.dataset, tmp_path), "val")


def test_a_start_is_refused_where_it_says_that_it_saw_other_images_or_classes(
    tmp_path: Path,
) -> None:
    checkpoint, _ = train(configured("first"), tmp_path)
    meta = torch.load(checkpoint, weights_only=True)["meta"]
    [mean], [std], classes = meta["mean"], meta["std"], meta["origin"]["classes"]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"classes": [*classes[1:], classes[0]]}, f"start_from tells {classes[1]}, .* apart, in"),
        ({"channel_order": "bgr"}, "start_from saw colours as bgr"),
        ({"mean": [mean + 0.06 * std]}, "start_from saw images normalised by mean"),
        ({"mean": [mean - 0.06 * std]}, "start_from saw images normalised by mean"),
        ({"std": [1.06 * std]}, "take a checkpoint of images like these"),
        ({"std": [1.0], "mean": [0.0]}, "mean 0.0000 and deviation 1.0000"),
    ]
    for changes, words in refused:
        with pytest.raises(ConfigError, match=words):
            Experiment.open(starting_at(rewritten(checkpoint, **changes)), root=tmp_path)
    assert not (tmp_path / "second").exists()


def test_a_start_may_differ_a_little_or_remember_nothing(tmp_path: Path) -> None:
    checkpoint, _ = train(configured("first"), tmp_path)
    meta = torch.load(checkpoint, weights_only=True)["meta"]
    [mean], [std] = meta["mean"], meta["std"]
    nothing: dict[str, object] = {"mean": None, "std": None, "classes": None, "channel_order": None}
    alike: dict[str, object] = {"mean": [mean + 0.03 * std], "std": [0.97 * std]}
    for number, changes in enumerate((nothing, alike)):
        config = starting_at(rewritten(checkpoint, **changes))
        again, _ = train(config.model_copy(update={"name": f"run-{number}"}), tmp_path)
        # What it remembers is its own: it was measured through it.
        assert torch.load(again, weights_only=True)["meta"]["mean"] == [mean]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "start_from is a warm start, and weights is from_scratch"),
        (
            {
                "weights": "warm_start",
                "encoder": {"name": "resnet10_narrow", "width": 4, "weights": "encoder.pt"},
            },
            "start_from holds a whole learner",
        ),
    ],
)
def test_a_start_is_warm_and_has_one_source(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        configured("run", trainer={**TRAINER, "start_from": "best.pt", **fields})


def test_a_start_is_pinned_until_it_was_used_and_not_needed_after(tmp_path: Path) -> None:
    checkpoint, _ = train(configured("first"), tmp_path)
    start = tmp_path / "start.pt"
    shutil.copy(checkpoint, start)
    trainer = {**TRAINER, "weights": "warm_start", "start_from": start}
    config = configured("second", trainer=trainer)
    Experiment.open(config, root=tmp_path).close()
    other, _ = train(configured("other", seed=5), tmp_path)
    shutil.copy(other, start)
    with pytest.raises(RunMismatch, match="is not the checkpoint any more"):
        Experiment.open(config, root=tmp_path)
    shutil.copy(checkpoint, start)
    with Experiment.open(config, root=tmp_path) as experiment:
        next(experiment.rounds())
    start.unlink()
    with Experiment.open(config, root=tmp_path) as experiment:
        assert list(experiment.rounds())
    assert "round 0 goes on from a learner of elsewhere" in marks_of(config)
