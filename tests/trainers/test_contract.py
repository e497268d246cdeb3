"""What `trainers.base` promises of every trainer, for each member of `AnyTrainer`."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch

from trainers import (
    AnyTrainer,
    Attack,
    Examples,
    Output,
    Saliency,
    Trainer,
    TrainingError,
    TrainReport,
)
from trainers.deep.checkpoints import load
from trainers.deep.networks import Plan, build_network
from trainers.deep.seeding import generator
from trainers.metrics import classification_metrics

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = {"name": "resnet10_narrow", "width": 4}
FIELDS: dict[str, dict[str, object]] = {
    "fer_classifier": {"epochs": 3, "batch_size": 16, "encoder": NARROW, "dropout": 0.1},
    "linear_probe": {"encoder": NARROW},
    "ensemble": {
        "members": 2,
        "bootstrap": True,
        "member": {"name": "fer_classifier", "epochs": 2, "batch_size": 16, "encoder": NARROW},
    },
}
"""Small settings; a member without an entry runs with its defaults."""

MEMBERS: tuple[type[Trainer], ...] = get_args(get_args(AnyTrainer)[0])
ONE_NETWORK = [member for member in MEMBERS if member.model_fields["name"].default != "ensemble"]
ROWWISE: tuple[Output, ...] = ("log_probs", "embeddings")
DEEPFOOL = Attack("deepfool", max_steps=20, step=0.05, overshoot=0.02)


def name_of(member: type[Trainer]) -> str:
    return str(member.model_fields["name"].default)


def with_encoder(trainer: Trainer, weights: Path) -> Trainer:
    """The same trainer with an encoder file."""
    fields = trainer.model_dump(exclude={"weights"})
    inner = fields.get("member", fields)
    inner.pop("weights", None)
    inner["encoder"] = {**inner["encoder"], "weights": weights}
    return type(trainer).model_validate(fields)


@pytest.fixture(params=MEMBERS, ids=name_of)
def trainer(request: pytest.FixtureRequest) -> Trainer:
    member: type[Trainer] = request.param
    return member.model_validate(FIELDS.get(name_of(member), {}))


@pytest.fixture
def fitted(trainer: Trainer, toy: Toy) -> TrainReport:
    return toy.once(trainer.fit, toy.task("fitted"))


def test_equal_tasks_give_equal_weights_and_metrics(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    again = trainer.fit(toy.task("again"))
    assert again.checkpoint_digest == fitted.checkpoint_digest
    assert again.initial_digest == fitted.initial_digest
    assert again.metrics == fitted.metrics


def test_no_global_generator_is_read_or_changed(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    torch.manual_seed(7531)  # `fitted` has seen another state
    before = torch.random.get_rng_state()
    again = trainer.fit(toy.task("again"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.checkpoint_digest == fitted.checkpoint_digest


def test_the_report_can_be_sent_between_processes(fitted: TrainReport) -> None:
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.metrics == fitted.metrics


def test_it_writes_below_its_own_folder_and_the_cache_only(trainer: Trainer, toy: Toy) -> None:
    fitted = trainer.fit(toy.task("fitted"))
    top = {path.name for path in toy.root.iterdir()}
    assert top <= {"images.npy", "fitted", "cache"}
    assert fitted.checkpoint.parent == toy.root / "fitted"
    assert not list(toy.root.rglob("*.tmp"))


def test_the_report_counts_the_whole_test_set(toy: Toy, fitted: TrainReport) -> None:
    labels = toy.examples(96, 160).labels
    assert fitted.confusion.sum(axis=1).tolist() == np.bincount(labels, minlength=3).tolist()
    assert fitted.confusion.trace() / 64 == fitted.metrics["test/accuracy"]


def test_the_test_metrics_are_those_of_the_predictions_it_leaves(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    assert fitted.test_predictions is not None
    with np.load(fitted.test_predictions) as left:
        rows, labels, log_probs = left["rows"], left["labels"], left["log_probs"]
    test = toy.examples(96, 160)
    assert (rows == test.rows).all()
    assert (labels == test.labels).all()
    assert log_probs.dtype == np.float32
    metrics, confusion = classification_metrics(log_probs, labels)
    assert metrics == {
        n.removeprefix("test/"): v for n, v in fitted.metrics.items() if n[:5] == "test/"
    }
    assert (confusion == fitted.confusion).all()
    asked = toy.predict_task(fitted.checkpoint, "log_probs", rows=rows)
    again = np.load(trainer.predict(asked).files["log_probs"])
    np.testing.assert_allclose(log_probs, again, atol=1e-5)


def test_metrics_come_for_the_last_epoch_and_for_the_best_one(fitted: TrainReport) -> None:
    measured = {"accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "auc_roc", "auc_pr"}
    for where in ("validation", "test", "best/validation", "best/test"):
        assert {f"{where}/{name}" for name in measured} <= fitted.metrics.keys()
    assert {"train/loss", "train/accuracy", "best/epoch"} <= fitted.metrics.keys()


def test_without_a_validation_set_no_epoch_is_called_best(trainer: Trainer, toy: Toy) -> None:
    report = trainer.fit(toy.task(validation=toy.examples(0, 0)))
    assert not [name for name in report.metrics if name.startswith(("best/", "validation/"))]


def test_without_a_test_set_there_are_no_test_metrics(trainer: Trainer, toy: Toy) -> None:
    report = trainer.fit(toy.task(test=toy.examples(0, 0)))
    assert not [name for name in report.metrics if "test/" in name]
    assert report.confusion.tolist() == np.zeros((3, 3)).tolist()
    assert report.test_predictions is None


def test_the_test_set_decides_nothing(trainer: Trainer, toy: Toy, fitted: TrainReport) -> None:
    few = trainer.fit(toy.task("few", test=toy.examples(96, 100)))
    assert few.metrics["best/epoch"] == fitted.metrics["best/epoch"]
    assert few.epochs == fitted.epochs


def test_scoring_changes_no_weight(trainer: Trainer, toy: Toy, fitted: TrainReport) -> None:
    before = fitted.checkpoint.read_bytes()
    trainer.predict(toy.predict_task(fitted.checkpoint, "log_probs", "embeddings"))
    assert fitted.checkpoint.read_bytes() == before


def test_predictions_follow_the_rows_asked_for(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    task = toy.predict_task(fitted.checkpoint, *ROWWISE)
    backwards = trainer.predict(task)
    forwards = trainer.predict(
        toy.predict_task(fitted.checkpoint, *ROWWISE, folder="f", rows=task.rows[::-1].copy())
    )
    for name in ROWWISE:
        one, other = np.load(backwards.files[name]), np.load(forwards.files[name])
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other[::-1], atol=1e-5)


def test_predicting_twice_gives_equal_bytes(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    once = trainer.predict(toy.predict_task(fitted.checkpoint, *ROWWISE, folder="once"))
    twice = trainer.predict(toy.predict_task(fitted.checkpoint, *ROWWISE, folder="twice"))
    for name in ROWWISE:
        assert once.files[name].read_bytes() == twice.files[name].read_bytes()


@pytest.mark.parametrize("trainer", ONE_NETWORK, indirect=True, ids=name_of)
def test_the_head_turns_embeddings_into_the_log_probabilities(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    found = trainer.predict(toy.predict_task(fitted.checkpoint, *ROWWISE, "head"))
    head, embeddings = np.load(found.files["head"]), np.load(found.files["embeddings"])
    logits = embeddings @ head["weight"].T + head["bias"]
    log_probs = np.load(found.files["log_probs"])
    assert log_probs.shape == (31, 3)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, atol=1e-5)
    expected = torch.from_numpy(logits).log_softmax(1).numpy()
    np.testing.assert_allclose(log_probs, expected, atol=1e-4)


def test_only_what_is_asked_for_is_computed(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    found = trainer.predict(toy.predict_task(fitted.checkpoint, "log_probs"))
    assert set(found.files) == {"log_probs"}
    assert [path.name for path in (toy.root / "predict").iterdir()] == ["log_probs.npy"]


def test_no_rows_give_empty_arrays(trainer: Trainer, toy: Toy, fitted: TrainReport) -> None:
    task = toy.predict_task(fitted.checkpoint, *ROWWISE, rows=np.arange(0))
    assert np.load(trainer.predict(task).files["log_probs"]).shape == (0, 3)


def test_others_come_after_the_rows(trainer: Trainer, toy: Toy, fitted: TrainReport) -> None:
    rows, others = np.arange(20, 40), np.array([3, 150, 3])
    both = trainer.predict(
        toy.predict_task(fitted.checkpoint, *ROWWISE, folder="both", rows=rows, others=others)
    )
    joined = trainer.predict(
        toy.predict_task(
            fitted.checkpoint, *ROWWISE, folder="joined", rows=np.concatenate([rows, others])
        )
    )
    for name in ROWWISE:
        assert both.files[name].read_bytes() == joined.files[name].read_bytes()


@pytest.mark.parametrize("trainer", ONE_NETWORK, indirect=True, ids=name_of)
def test_every_image_has_a_distance_to_another_class(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    before = fitted.checkpoint.read_bytes()
    task = toy.predict_task(
        fitted.checkpoint, "flip_distances", attack=DEEPFOOL, others=np.arange(40, 50)
    )
    found = trainer.predict(task)
    distances = np.load(found.files["flip_distances"])
    assert (distances.shape, distances.dtype) == ((31,), np.float32)
    assert (distances > 0).all()
    assert np.isfinite(distances).any()
    assert set(found.files) == {"flip_distances"}
    assert fitted.checkpoint.read_bytes() == before


@pytest.mark.parametrize("trainer", ONE_NETWORK, indirect=True, ids=name_of)
def test_every_image_has_a_saliency_map(trainer: Trainer, toy: Toy, fitted: TrainReport) -> None:
    before = fitted.checkpoint.read_bytes()
    task = toy.predict_task(fitted.checkpoint, "saliency", saliency=Saliency("gradcam"))
    found = trainer.predict(task)
    maps = np.load(found.files["saliency"])
    assert maps.shape == (31, 12, 12)
    assert maps.dtype == np.float32
    assert (maps >= 0).all()
    assert maps.max() > 0
    assert set(found.files) == {"saliency"}
    assert fitted.checkpoint.read_bytes() == before


def test_an_encoder_file_is_embedded_before_there_is_a_learner(trainer: Trainer, toy: Toy) -> None:
    plan = Plan("resnet10_narrow", 4, in_channels=1, num_classes=2, dropout=0.0)
    torch.save(build_network(plan, generator(9)).encoder.state_dict(), toy.root / "encoder.pt")
    informed = with_encoder(trainer, toy.root / "encoder.pt")
    rows, others = np.array([7, 2]), np.array([2, 99])
    found, again = (
        informed.predict(
            toy.predict_task(None, "encoder_embeddings", folder=folder, rows=rows, others=others)
        )
        for folder in ("found", "again")
    )
    embeddings = np.load(found.files["encoder_embeddings"])
    assert (embeddings.shape, embeddings.dtype) == ((4, 32), np.float32)
    assert (embeddings[1] == embeddings[2]).all()
    assert (embeddings == np.load(again.files["encoder_embeddings"])).all()
    assert found.keys == again.keys
    assert set(found.keys) == {"encoder_embeddings"}
    assert len(list((toy.root / "cache").glob("features-*.npy"))) == 1


def test_what_a_learner_says_needs_a_checkpoint(toy: Toy) -> None:
    with pytest.raises(TrainingError, match="log_probs are a learner's"):
        toy.predict_task(None, "log_probs", "encoder_embeddings")


def test_distances_need_an_attack(toy: Toy) -> None:
    with pytest.raises(TrainingError, match="need an attack"):
        toy.predict_task(toy.root / "checkpoint.pt", "flip_distances")


def test_the_pool_is_scored_as_the_test_set_is(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    test = toy.examples(96, 160)
    found = trainer.predict(toy.predict_task(fitted.checkpoint, "log_probs", rows=test.rows))
    predicted = np.load(found.files["log_probs"]).argmax(1)
    assert (predicted == test.labels).mean() == fitted.metrics["test/accuracy"]


def test_a_class_nobody_has_labelled_yet_is_in_the_output(trainer: Trainer, toy: Toy) -> None:
    rows = np.flatnonzero(toy.labels[:64] != 2)
    report = trainer.fit(toy.task(labelled=Examples(rows, toy.labels[rows])))
    found = trainer.predict(toy.predict_task(report.checkpoint, "log_probs"))
    assert np.isfinite(np.load(found.files["log_probs"])).all()
    assert "test/recall/2" in report.metrics


def test_one_labelled_image_can_be_fitted(trainer: Trainer, toy: Toy) -> None:
    report = trainer.fit(toy.task(labelled=toy.examples(0, 1)))
    assert np.isfinite(report.metrics["train/loss"])


def test_nothing_labelled_is_refused(trainer: Trainer, toy: Toy) -> None:
    with pytest.raises(TrainingError, match="nothing is labelled"):
        trainer.fit(toy.task(labelled=toy.examples(0, 0)))


def test_a_class_out_of_range_is_refused(trainer: Trainer, toy: Toy) -> None:
    with pytest.raises(TrainingError, match=r"test labels are not in \[0, 3\), first 3 of row 5"):
        trainer.fit(toy.task(test=Examples(np.array([4, 5]), np.array([0, 3]))))


def test_a_checkpoint_with_other_classes_is_refused(
    trainer: Trainer, toy: Toy, fitted: TrainReport
) -> None:
    task = replace(toy.predict_task(fitted.checkpoint, "log_probs"), num_classes=4)
    with pytest.raises(TrainingError, match="3 classes"):
        trainer.predict(task)


def test_the_log_of_epochs_has_one_line_an_epoch(toy: Toy, fitted: TrainReport) -> None:
    lines = (toy.root / "fitted" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == fitted.epochs
    for key in ("epoch", "loss", "accuracy", "lr", "seconds", "total_epochs"):
        assert f'"{key}": ' in lines[0]


def test_the_checkpoint_is_read_without_running_code(fitted: TrainReport) -> None:
    assert load(fitted.checkpoint).keys() == {"weights", "meta"}


def test_an_encoder_file_that_is_missing_is_found_out_before_the_start(
    trainer: Trainer, tmp_path: Path
) -> None:
    doubtful = with_encoder(trainer, tmp_path / "gone.pt")
    with pytest.raises(TrainingError, match=r"gone\.pt does not exist"):
        doubtful.check(image_shape=(48, 48, 1), num_classes=7)
    trainer.check(image_shape=(48, 48, 1), num_classes=7)


def test_images_too_small_are_found_out_before_the_start(trainer: Trainer) -> None:
    with pytest.raises(TrainingError, match="needs images of 8 pixels"):
        trainer.check(image_shape=(4, 48, 1), num_classes=7)
    with pytest.raises(TrainingError, match="two or more"):
        trainer.check(image_shape=(48, 48, 1), num_classes=1)
