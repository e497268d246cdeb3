"""An ensemble is its members, each as if it were alone, and goes on wherever it was killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from forked import fit_until_killed
from pydantic import ValidationError

from trainers import (
    Attack,
    Encoder,
    Ensemble,
    Examples,
    FERClassifier,
    LinearProbe,
    TrainingError,
    TrainReport,
    TrainTask,
)
from trainers.deep import checkpoints
from trainers.deep.ensemble import mean_log_probs
from trainers.deep.networks import Plan, build_network
from trainers.deep.seeding import derived_seed, generator
from trainers.recipes import StopRules

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = Encoder(name="resnet10_narrow", width=4)
MEMBER = FERClassifier(
    encoder=NARROW,
    epochs=3,
    batch_size=16,
    checkpoint_every_s=0,
    stopping=StopRules(saturation_window=None, divergence_every=None),
)
TRAINER = Ensemble(member=MEMBER, members=3)


def bundle_of(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    content = checkpoints.load(path)
    weights, meta = content["weights"], content["meta"]
    assert isinstance(weights, dict)
    assert isinstance(meta, dict)
    return weights, meta


def misled(toy: Toy, attempt: str, **changes: object) -> TrainTask:
    """A task whose validation labels are wrong, so that the best epoch is not the last."""
    validation = Examples(np.arange(64, 96), (toy.labels[64:96] + 1) % 3)
    return toy.task(attempt, validation=validation, **changes)


def alone(toy: Toy, number: int) -> TrainTask:
    """The task of one member, by hand."""
    return misled(toy, f"alone-{number}", seed=derived_seed(7, "member", number))


@pytest.fixture
def fitted(toy: Toy) -> TrainReport:
    return toy.once(TRAINER.fit, misled(toy, "whole"))


def test_each_member_is_what_it_would_be_alone(toy: Toy, fitted: TrainReport) -> None:
    weights, meta = bundle_of(fitted.checkpoint)
    members = meta["members"]
    assert isinstance(members, list)
    for number in range(3):
        report = toy.once(MEMBER.fit, alone(toy, number))
        ours = {n[2:]: w for n, w in weights.items() if n.startswith(f"{number}.")}
        assert checkpoints.digest_of_weights(ours) == report.checkpoint_digest
        assert members[number]["digest"] == report.checkpoint_digest


def test_seeds_are_derived_distinct_and_on_record(fitted: TrainReport) -> None:
    seeds = [derived_seed(7, "member", number) for number in range(3)]
    assert len({*seeds}) == 3
    assert fitted.notes["seeds"] == ", ".join(map(str, seeds))
    assert bundle_of(fitted.checkpoint)[1]["seeds"] == seeds


def test_what_it_says_is_what_its_members_say(toy: Toy, fitted: TrainReport) -> None:
    rows, others = np.arange(30), np.array([40, 41])
    found = TRAINER.predict(
        toy.predict_task(
            fitted.checkpoint, "log_probs", "mc_log_probs", "embeddings", rows=rows, others=others
        )
    )
    every = [np.load(found.files[n]) for n in ("log_probs", "mc_log_probs", "embeddings")]
    log_probs, draws, embeddings = every
    assert (log_probs.shape, draws.shape, embeddings.shape) == ((32, 3), (30, 3, 3), (32, 96))
    for number in range(3):
        checkpoint = toy.once(MEMBER.fit, alone(toy, number)).checkpoint
        one = MEMBER.predict(
            toy.predict_task(
                checkpoint, "log_probs", "embeddings", folder=str(number), rows=rows, others=others
            )
        )
        assert (draws[:, number] == np.load(one.files["log_probs"])[:30]).all()
        mine = slice(32 * number, 32 * (number + 1))
        assert (embeddings[:, mine] == np.load(one.files["embeddings"])).all()
    np.testing.assert_allclose(np.exp(log_probs[:30]), np.exp(draws).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-6)


def test_the_mean_of_log_probabilities_is_taken_over_probabilities() -> None:
    with np.errstate(divide="ignore"):
        members = [np.log(np.array([row], np.float32)) for row in ([0.5, 0.5, 0], [1, 0, 0])]
    assert np.exp(mean_log_probs(members)).tolist() == [[0.75, 0.25, 0.0]]


def test_metrics_are_of_the_mean_prediction(toy: Toy, fitted: TrainReport) -> None:
    test = toy.examples(96, 160)
    found = TRAINER.predict(toy.predict_task(fitted.checkpoint, "log_probs", rows=test.rows))
    log_probs = np.load(found.files["log_probs"])
    nll = -log_probs[np.arange(64), test.labels].astype(np.float64).mean()
    assert fitted.metrics["test/nll"] == pytest.approx(nll, rel=1e-9)
    members = [toy.once(MEMBER.fit, alone(toy, number)).metrics for number in range(3)]
    # The mean prediction loses less than its members on average: -log is convex.
    assert nll < np.mean([m["test/nll"] for m in members])
    for name in ("train/loss", "train/accuracy", "best/epoch"):
        assert fitted.metrics[name] == pytest.approx(np.mean([m[name] for m in members]))


def test_the_best_epoch_is_each_members_own(toy: Toy, fitted: TrainReport) -> None:
    assert fitted.metrics["best/epoch"] < 3
    test = toy.examples(96, 160)
    log_probs = []
    for number in range(3):
        best = toy.once(MEMBER.fit, alone(toy, number)).checkpoint.with_name("best.pt")
        task = toy.predict_task(best, "log_probs", folder=str(number), rows=test.rows)
        log_probs.append(np.load(MEMBER.predict(task).files["log_probs"]))
    chosen = mean_log_probs(log_probs)[np.arange(64), test.labels].astype(np.float64)
    assert fitted.metrics["best/test/nll"] == pytest.approx(-chosen.mean(), rel=1e-9)
    assert fitted.metrics["best/test/nll"] != fitted.metrics["test/nll"]


def test_one_epoch_is_the_last_and_the_best_one(toy: Toy) -> None:
    short = TRAINER.model_copy(update={"member": MEMBER.model_copy(update={"epochs": 1})})
    metrics = short.fit(toy.task()).metrics
    for where in ("validation", "test"):
        assert metrics[f"best/{where}/nll"] == metrics[f"{where}/nll"]


def test_a_bootstrap_draws_as_many_of_the_labelled_with_replacement(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Examples] = []
    fit = FERClassifier.fit

    def watched(trainer: FERClassifier, task: TrainTask) -> TrainReport:
        seen.append(task.labelled)
        return fit(trainer, task)

    monkeypatch.setattr(FERClassifier, "fit", watched)
    TRAINER.model_copy(update={"bootstrap": True}).fit(toy.task())
    assert [len(examples) for examples in seen] == [64, 64, 64]
    assert len({examples.rows.tobytes() for examples in seen}) == 3
    for examples in seen:
        assert 30 < len(np.unique(examples.rows)) < 50  # 1 - 1/e of 64 are 40
        assert set(examples.rows.tolist()) <= set(range(64))
        assert (examples.labels == toy.labels[examples.rows]).all()


def test_probes_of_a_bootstrap_share_their_features(toy: Toy) -> None:
    trainer = Ensemble(member=LinearProbe(encoder=NARROW), members=3, bootstrap=True)
    report = trainer.fit(toy.task())
    assert report.metrics["test/accuracy"] > 0.8
    assert len(list((toy.root / "cache").glob("features-*.npy"))) == 1
    found = trainer.predict(toy.predict_task(report.checkpoint, "mc_log_probs", "embeddings"))
    assert np.load(found.files["mc_log_probs"]).std(axis=1).max() > 0
    (key,) = {*found.keys["embeddings"].split("+")}
    assert (toy.root / "cache" / f"features-{key}.npy").exists()
    assert len(found.keys["embeddings"].split("+")) == 3


def test_embeddings_of_a_trained_network_have_no_key(toy: Toy, fitted: TrainReport) -> None:
    assert TRAINER.predict(toy.predict_task(fitted.checkpoint, "embeddings")).keys == {}


@pytest.fixture
def encoder_file(toy: Toy) -> Path:
    plan = Plan("resnet10_narrow", 4, in_channels=1, num_classes=2, dropout=0.0)
    torch.save(build_network(plan, generator(9)).encoder.state_dict(), toy.root / "encoder.pt")
    return toy.root / "encoder.pt"


def with_policy(weights: str, file: Path | None) -> Ensemble:
    encoder = NARROW.model_copy(update={"weights": file})
    fields = {**MEMBER.model_dump(exclude={"weights", "encoder"}), "weights": weights}
    return Ensemble.model_validate({"member": {**fields, "encoder": encoder}, "members": 2})


def test_every_round_starts_from_the_file(toy: Toy, encoder_file: Path) -> None:
    trainer = with_policy("from_pretrained", encoder_file)
    one, other = (trainer.fit(toy.task(f"round-{seed}", seed=seed)) for seed in (1, 2))
    assert one.encoder_digest == other.encoder_digest
    assert one.initial_digest != other.initial_digest


def test_in_a_warm_start_each_member_goes_on_from_itself(toy: Toy) -> None:
    trainer = with_policy("warm_start", None)
    first = trainer.fit(toy.task("round-0"))
    second = trainer.fit(toy.task("round-1", seed=8, previous=first.checkpoint))
    assert second.initial_digest == first.checkpoint_digest
    assert second.checkpoint_digest != first.checkpoint_digest
    assert not list(toy.root.rglob("previous.pt"))


def test_a_warm_start_of_another_number_of_members_is_refused(toy: Toy) -> None:
    trainer = with_policy("warm_start", None)
    first = trainer.fit(toy.task("round-0"))
    more = trainer.model_copy(update={"members": 4})
    with pytest.raises(TrainingError, match="holds 2 members, the trainer asks for 4"):
        more.fit(toy.task("round-1", previous=first.checkpoint))


def test_the_checkpoint_of_one_learner_is_no_ensemble(toy: Toy) -> None:
    checkpoint = MEMBER.fit(toy.task()).checkpoint
    with pytest.raises(TrainingError, match="not a checkpoint of an ensemble"):
        TRAINER.predict(toy.predict_task(checkpoint, "log_probs"))


@pytest.mark.parametrize("output", ["head", "flip_distances"])
def test_what_only_one_network_has_is_refused_with_the_reason(toy: Toy, output: str) -> None:
    attack = Attack("bim", max_steps=5, step=0.05, overshoot=0.0)
    task = toy.predict_task(toy.root / "any.pt", output, attack=attack)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=f"train a single learner, or .* {output}"):
        TRAINER.predict(task)


def test_the_policy_of_the_weights_is_the_members(encoder_file: Path) -> None:
    assert TRAINER.weights == "from_scratch"
    fields = {"name": "fer_classifier", "encoder": {"weights": encoder_file}}
    assert Ensemble.model_validate({"member": fields}).weights == "from_pretrained"
    warm = Ensemble.model_validate({"member": {**fields, "weights": "warm_start"}})
    assert (warm.weights, warm.member.weights) == ("warm_start", "warm_start")
    assert Ensemble(member=warm.member).weights == "warm_start"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"members": 1}, "greater than or equal to 2"),
        ({"member": {"name": "linear_probe"}}, "set bootstrap: true"),
        ({"member": {"name": "ensemble"}}, "does not match any of the expected tags"),
        ({"member": 3}, "member"),
        ({"weights": "warm_start"}, "set member.weights and leave weights out"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Ensemble.model_validate(fields)


Interrupt = Callable[[str, int, Path | None], Path]


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is on disk before each checkpoint of `misled`, in a folder named by its number."""
    return tmp_path_factory.mktemp("left-behind")


@pytest.fixture
def fit_until_interrupted(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, left_behind: Path
) -> Interrupt:
    """A fit that is stopped in the middle of writing its so-manieth checkpoint."""

    def fit(attempt: str, before: int, resume_from: Path | None) -> Path:
        saved, written = checkpoints.save, 0
        task = misled(toy, attempt, resume_from=resume_from)

        def save_or_stop(path: Path, content: Mapping[str, object]) -> None:
            nonlocal written
            written += 1
            if written == before:
                raise KeyboardInterrupt
            saved(path, content)

        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "save", save_or_stop)
            with pytest.raises(KeyboardInterrupt):
                TRAINER.fit(task)
        return task.out_dir

    def fit_first(attempt: str, before: int, resume_from: Path | None) -> Path:
        """One fit, seen before each checkpoint, stands for all that are stopped at one."""
        if resume_from is not None:
            return fit(attempt, before, resume_from)
        saved, written = checkpoints.save, 0
        whole = misled(toy, f"{attempt}-whole")

        def note_and_save(path: Path, content: Mapping[str, object]) -> None:
            nonlocal written
            written += 1
            shutil.copytree(whole.out_dir, left_behind / str(written))
            saved(path, content)

        if not any(left_behind.iterdir()):
            with monkeypatch.context() as patched:
                patched.setattr(checkpoints, "save", note_and_save)
                TRAINER.fit(whole)
        return Path(shutil.copytree(left_behind / str(before), toy.root / attempt))

    return fit_first


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The folder of each member that is fitted from now on, and whether it goes on."""
    seen: list[tuple[str, bool]] = []
    fit = FERClassifier.fit

    def watched(trainer: FERClassifier, task: TrainTask) -> TrainReport:
        seen.append((task.out_dir.name, task.resume_from is not None))
        return fit(trainer, task)

    monkeypatch.setattr(FERClassifier, "fit", watched)
    return seen


def assert_the_same(one: TrainReport, other: TrainReport) -> None:
    assert one.checkpoint_digest == other.checkpoint_digest
    assert one.initial_digest == other.initial_digest
    assert one.encoder_digest == other.encoder_digest
    assert one.metrics == other.metrics
    assert (one.confusion == other.confusion).all()
    assert (one.epochs, one.steps, one.stop_reason) == (
        other.epochs,
        other.steps,
        other.stop_reason,
    )
    assert one.notes == other.notes
    weights, expected = (bundle_of(report.checkpoint)[0] for report in (one, other))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    logs = [report.checkpoint.with_name("metrics.jsonl").read_text() for report in (one, other)]
    curves = [[json.loads(line) for line in log.splitlines()] for log in logs]
    assert [e["epoch"] for e in curves[0]] == list(range(1, 10))
    assert [e["member"] for e in curves[0]] == [0] * 3 + [1] * 3 + [2] * 3
    for key in ("loss", "steps", "total_epochs"):
        assert [e[key] for e in curves[0]] == [e[key] for e in curves[1]]


# A member writes five checkpoints: three epochs, its last network and its best one. The sixteenth
# is the bundle.
@pytest.mark.parametrize(
    ("before", "left_to_fit"),
    [
        (2, [("member-0", True), ("member-1", False), ("member-2", False)]),
        (6, [("member-1", False), ("member-2", False)]),
        (8, [("member-1", True), ("member-2", False)]),
        (15, [("member-2", True)]),
        (16, []),
    ],
)
def test_a_killed_fit_goes_on_and_fits_no_finished_member_again(
    toy: Toy,
    fitted: TrainReport,
    fit_until_interrupted: Interrupt,
    fits: list[tuple[str, bool]],
    before: int,
    left_to_fit: list[tuple[str, bool]],
) -> None:
    left = fit_until_interrupted("stopped", before, None)
    assert TRAINER.can_resume(left)
    fits.clear()
    resumed = TRAINER.fit(misled(toy, "resumed", resume_from=left))
    assert fits == left_to_fit
    assert_the_same(resumed, fitted)


def test_a_fit_killed_twice_loses_nothing_of_the_first_attempt(
    toy: Toy,
    fitted: TrainReport,
    fit_until_interrupted: Interrupt,
    fits: list[tuple[str, bool]],
) -> None:
    first = fit_until_interrupted("first", 8, None)
    # The second attempt goes on with member 1 and is stopped before its next epoch is kept.
    second = fit_until_interrupted("second", 2, first)
    fits.clear()
    resumed = TRAINER.fit(misled(toy, "resumed", resume_from=second))
    assert fits == [("member-1", True), ("member-2", False)]
    assert_the_same(resumed, fitted)


def test_an_attempt_counts_only_once_all_of_the_earlier_one_is_copied(
    toy: Toy, fit_until_interrupted: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit_until_interrupted("first", 12, None)
    copy = shutil.copyfile

    def power_cut(source: Path, target: Path) -> None:
        if source.parent.name == "member-0":
            raise KeyboardInterrupt
        copy(source, target)

    task = misled(toy, "second", resume_from=first)
    with monkeypatch.context() as patched:
        patched.setattr("trainers.deep.ensemble.shutil.copyfile", power_cut)
        with pytest.raises(KeyboardInterrupt):
            TRAINER.fit(task)
    assert (task.out_dir / "member-1").exists()
    assert not TRAINER.can_resume(task.out_dir)
    assert TRAINER.can_resume(first)


def test_nothing_left_is_nothing_to_go_on_from(toy: Toy) -> None:
    assert not TRAINER.can_resume(toy.root)


@pytest.mark.parametrize("change", ["seed", "test", "damage", "lost"])
def test_what_is_not_a_finished_member_of_this_task_is_fitted_anew(
    toy: Toy,
    fit_until_interrupted: Interrupt,
    fits: list[tuple[str, bool]],
    change: str,
) -> None:
    left = fit_until_interrupted("stopped", 12, None)
    task = misled(toy, "resumed", resume_from=left)
    if change == "seed":
        task = replace(task, seed=8)
    if change == "test":
        task = replace(task, test=toy.examples(96, 150))
    if change == "damage":
        for number in (0, 1):
            (left / f"member-{number}" / "finished.json").write_text('{"identity": ')
    if change == "lost":
        for number in (0, 1):
            (left / f"member-{number}" / "checkpoint.pt").unlink()
    fits.clear()
    resumed = TRAINER.fit(task)
    assert [name for name, _ in fits] == ["member-0", "member-1", "member-2"]
    fresh = toy.once(TRAINER.fit, replace(misled(toy, "fresh"), seed=task.seed, test=task.test))
    assert_the_same(resumed, fresh)


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_to_the_same_bits(toy: Toy, fitted: TrainReport) -> None:
    task = misled(toy, "killed")
    fit_until_killed(TRAINER, task, "after", 8)
    assert_the_same(TRAINER.fit(misled(toy, "resumed", resume_from=task.out_dir)), fitted)


def test_a_prediction_leaves_nothing_of_the_members(toy: Toy, fitted: TrainReport) -> None:
    TRAINER.predict(toy.predict_task(fitted.checkpoint, "mc_log_probs"))
    assert [path.name for path in (toy.root / "predict").iterdir()] == ["mc_log_probs.npy"]


def test_an_ensemble_without_an_encoder_file_has_no_encoder_embeddings(toy: Toy) -> None:
    with pytest.raises(TrainingError, match=r"give encoder\.weights"):
        TRAINER.predict(toy.predict_task(None, "encoder_embeddings"))
