"""What `trainers.pretraining` promises of every pretrainer, for each of `AnyPretrainer`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from trainers import (
    AnyPretrainer,
    Encoder,
    Examples,
    FERClassifier,
    Pretrainer,
    PretrainReport,
    PretrainTask,
    TrainingError,
)
from trainers.deep import checkpoints
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.methods.base import Method
from trainers.deep.networks import build_encoder, plan_network
from trainers.deep.pretrain import rate_of
from trainers.deep.statistics import untouched_statistics
from trainers.files import EPOCH_CHECKPOINT

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

NARROW = Encoder(name="resnet10_narrow", width=4)
SMALL: dict[str, Any] = {"epochs": 3, "batch_size": 32, "checkpoint_every_s": 0}
FIELDS: dict[str, dict[str, Any]] = {
    "simclr": {"projection": 8},
    "supcon": {"projection": 8, "unlabelled": "contrast"},
    "byol": {"hidden": 16, "projection": 8},
    "vicreg": {"hidden": 16, "projection": 8, "optimizer": {"name": "sgd", "lr": 0.01}},
    "simfle": {"hidden": 16, "projection": 8, "face_mae": "tiny", "groups": 4},
}
MEMBERS: tuple[type[Pretrainer], ...] = get_args(get_args(AnyPretrainer)[0])
NAMES = [str(member.model_fields["name"].default) for member in MEMBERS]

TaskOf = Callable[..., PretrainTask]


def made(name: str, **changes: object) -> Pretrainer:
    fields = {"name": name, **SMALL, **FIELDS[name], **changes}
    pretrainer: Pretrainer = TypeAdapter(AnyPretrainer).validate_python(fields)
    return pretrainer


@pytest.fixture(params=NAMES)
def pretrainer(request: pytest.FixtureRequest) -> Pretrainer:
    return made(request.param)


@pytest.fixture
def task_of(toy: Toy) -> TaskOf:
    """Tasks on 96 rows of the toy, of which a method that reads labels knows 24."""

    def make(pretrainer: Pretrainer, folder: str, **changes: object) -> PretrainTask:
        out_dir = toy.root / folder
        out_dir.mkdir()
        task = PretrainTask(
            images=toy.images,
            rows=np.arange(96),
            seed=5,
            out_dir=out_dir,
            cache_dir=toy.root / "cache",
            device="cpu",
        )
        if pretrainer.reads_labels:
            task = replace(task, labelled=toy.examples(0, 24))
        return replace(task, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def report(pretrainer: Pretrainer, task_of: TaskOf, toy: Toy) -> PretrainReport:
    return toy.once(partial(pretrainer.pretrain, NARROW), task_of(pretrainer, "made"))


def test_equal_tasks_give_equal_weights_and_no_global_generator_is_touched(
    pretrainer: Pretrainer, report: PretrainReport, task_of: TaskOf
) -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    again = pretrainer.pretrain(NARROW, task_of(pretrainer, "again"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.digest == report.digest
    assert again.metrics == report.metrics
    other = pretrainer.pretrain(NARROW, task_of(pretrainer, "other", seed=6))
    assert other.digest != report.digest
    assert other.initial_digest != report.initial_digest


def test_what_it_leaves_is_an_encoder_that_was_trained(
    pretrainer: Pretrainer, report: PretrainReport, task_of: TaskOf
) -> None:
    loaded = NARROW.pretrained(report.encoder)
    plan, imported = plan_network(loaded, image_channels=1, num_classes=3, dropout=0.0)
    assert imported is not None
    assert digest_of_weights(dict(imported.tensors)) == report.digest
    assert set(imported.tensors) == set(build_encoder(plan).state_dict())
    assert report.epochs == 3
    assert report.steps == (3 if pretrainer.reads_labels and not wide(pretrainer) else 9)
    one = made(pretrainer.name, epochs=1).pretrain(NARROW, task_of(pretrainer, "one"))
    assert one.initial_digest == report.initial_digest
    assert one.digest != report.digest


def wide(pretrainer: Pretrainer) -> bool:
    return getattr(pretrainer, "unlabelled", "contrast") == "contrast"


def test_the_shape_of_the_embedding_is_measured(report: PretrainReport) -> None:
    assert np.isfinite([*report.metrics.values()]).all()
    assert {"loss", "lr", "alignment", "uniformity", "effective_rank", "deviation"} <= set(
        report.metrics
    )
    assert 1 <= report.metrics["effective_rank"] <= NARROW.channels


def test_watching_measures_and_moves_no_weight(
    pretrainer: Pretrainer, report: PretrainReport, task_of: TaskOf, toy: Toy
) -> None:
    watching = pretrainer.model_copy(update={"watch_every": 2})
    task = task_of(pretrainer, "watched", watched=toy.examples(96, 130))
    watched = watching.pretrain(NARROW, task)
    assert watched.digest == report.digest
    assert "watched/knn_accuracy" not in report.metrics
    assert {"watched/knn_accuracy", "watched/linear_accuracy"} <= set(watched.metrics)
    lines = [json.loads(x) for x in (task.out_dir / "metrics.jsonl").read_text().splitlines()]
    assert ["watched/knn_accuracy" in line for line in lines] == [False, True, True]
    assert watched.notes["watched"] == "34 labels of the validation set"
    assert watching.settings() == pretrainer.settings()


def test_what_is_watched_is_no_part_of_what_is_learned_from(task_of: TaskOf, toy: Toy) -> None:
    watching = made("byol", watch_every=1)
    with pytest.raises(TrainingError, match="part of what is learned from"):
        watching.pretrain(NARROW, task_of(watching, "a", watched=toy.examples(90, 120)))
    with pytest.raises(TrainingError, match="needs a validation set, and it has 0 images"):
        watching.pretrain(NARROW, task_of(watching, "b"))


def test_killed_after_an_epoch_it_ends_in_the_same_bits(
    pretrainer: Pretrainer,
    report: PretrainReport,
    task_of: TaskOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = task_of(pretrainer, "killed")
    with monkeypatch.context() as patch:
        die_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            pretrainer.pretrain(NARROW, killed)
    assert pretrainer.can_resume(killed.out_dir)
    resumed = pretrainer.pretrain(
        NARROW, task_of(pretrainer, "resumed", resume_from=killed.out_dir)
    )
    assert resumed.digest == report.digest
    assert resumed.initial_digest == report.initial_digest
    assert resumed.metrics == report.metrics
    lines = (resumed.encoder.parent / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert not (resumed.encoder.parent / EPOCH_CHECKPOINT).exists()


def die_after(epochs: int, patch: pytest.MonkeyPatch) -> None:
    """Interrupts the loop as it begins the epoch after so many."""
    import trainers.deep.pretrain as loop

    real = loop._one_epoch

    def one_epoch(*args: Any) -> None:
        if len(args[2].history) == epochs:
            raise KeyboardInterrupt
        real(*args)

    patch.setattr(loop, "_one_epoch", one_epoch)


def test_what_another_task_left_is_not_gone_on_with(task_of: TaskOf) -> None:
    simclr = made("simclr")
    first = task_of(simclr, "first")
    with pytest.MonkeyPatch.context() as patch:
        die_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            simclr.pretrain(NARROW, first)
    fresh = simclr.pretrain(NARROW, task_of(simclr, "fresh", seed=6))
    misled = simclr.pretrain(NARROW, task_of(simclr, "misled", seed=6, resume_from=first.out_dir))
    assert misled.digest == fresh.digest


def test_a_method_that_reads_no_labels_is_handed_none(toy: Toy, task_of: TaskOf) -> None:
    simclr = made("simclr")
    with pytest.raises(TrainingError, match="reads no labels"):
        simclr.pretrain(NARROW, task_of(simclr, "labelled", labelled=toy.examples(0, 8)))


def test_supcon_reads_labels_of_the_labelled_rows_alone(toy: Toy, task_of: TaskOf) -> None:
    supcon = made("supcon")
    given = toy.examples(0, 24)
    first = supcon.pretrain(NARROW, task_of(supcon, "first"))
    other = Examples(rows=given.rows, labels=(given.labels + 1) % 3)
    # Other names of the same classes are the same groups ...
    renamed = supcon.pretrain(NARROW, task_of(supcon, "renamed", labelled=other))
    assert renamed.digest == first.digest
    # ... other classes are not.
    mixed = Examples(rows=given.rows, labels=np.roll(given.labels, 1))
    assert supcon.pretrain(NARROW, task_of(supcon, "mixed", labelled=mixed)).digest != first.digest
    with pytest.raises(TrainingError, match="learns from labelled images"):
        supcon.pretrain(NARROW, task_of(supcon, "none", labelled=toy.examples(0, 0)))
    with pytest.raises(TrainingError, match="not of the pool"):
        supcon.pretrain(NARROW, task_of(supcon, "test", labelled=toy.examples(90, 100)))


def test_supcon_that_leaves_the_rest_out_never_sees_it(toy: Toy, task_of: TaskOf) -> None:
    supcon = made("supcon", unlabelled="leave_out", batch_size=8)
    first = supcon.pretrain(NARROW, task_of(supcon, "first"))
    fewer = supcon.pretrain(NARROW, task_of(supcon, "fewer", rows=np.arange(40)))
    assert first.steps == fewer.steps == 9
    assert first.digest == fewer.digest


def test_the_target_follows_by_its_momentum_and_keeps_its_own_statistics() -> None:
    from trainers.deep.methods.bootstrap import Bootstrap

    plan, _ = plan_network(NARROW, image_channels=1, num_classes=2, dropout=0.0)
    method = Bootstrap(plan, hidden=8, projection=4, momentum=0.75)
    method.draw(torch.Generator().manual_seed(0))
    before = [weight.clone() for weight in method.target_encoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, method.encoder.parameters(), strict=True))
    with torch.no_grad():
        for weight in method.encoder.parameters():
            weight.add_(1)
        for buffer in method.encoder.buffers():
            buffer.add_(3)
    buffers = [buffer.clone() for buffer in method.target_encoder.buffers()]
    method.after_step()
    for old, new in zip(before, method.target_encoder.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)
        assert not new.requires_grad
    assert all(
        torch.equal(a, b) for a, b in zip(buffers, method.target_encoder.buffers(), strict=True)
    )


@pytest.fixture
def simfle_batch() -> tuple[Method, Any]:
    from trainers.deep.methods import Batch, method_of

    plan, _ = plan_network(NARROW, image_channels=1, num_classes=2, dropout=0.0)
    method = method_of(made("simfle"), plan)
    rng = torch.Generator().manual_seed(1)
    method.draw(rng)
    first, second = torch.randn(2, 6, 1, 24, 24, generator=rng)
    faces = torch.randn(6, 1, 28, 28, generator=rng)
    unknown = torch.full((6,), -1)
    return method, Batch(first, second, faces, unknown, torch.Generator().manual_seed(2))


GRADIENTS = {
    "similarity": {"encoder", "projector", "predictor"},
    "reconstruction": {"face_mae"},
    "distillation": {"encoder", "face_mae", "distil_face", "distil_landmarks"},
    "grouping": {"masking"},
}


@pytest.mark.parametrize("term", GRADIENTS)
def test_each_loss_of_simfle_reaches_the_parts_it_should(
    simfle_batch: tuple[Method, Any], term: str
) -> None:
    method, batch = simfle_batch
    torch.autograd.backward(method.losses(batch)[term])
    reached = {
        name
        for name, part in method.named_children()
        if any(w.grad is not None and bool(w.grad.abs().sum() > 0) for w in part.parameters())
    }
    assert reached == GRADIENTS[term]


def test_the_total_of_simfle_is_weighted_as_published(simfle_batch: tuple[Method, Any]) -> None:
    method, batch = simfle_batch
    terms = {name: float(value.detach()) for name, value in method.losses(batch).items()}
    expected = (
        terms["similarity"]
        + terms["reconstruction"]
        + 0.3 * terms["distillation"]
        + 0.03 * terms["grouping"]
    )
    assert terms["loss"] == pytest.approx(expected)


@pytest.mark.parametrize("moves", [False, True])
def test_the_face_moves_statistics_of_the_encoder_only_if_declared(moves: bool) -> None:
    from trainers.deep.methods import Batch, method_of

    plan, _ = plan_network(NARROW, image_channels=1, num_classes=2, dropout=0.0)
    method = method_of(made("simfle", face_statistics=moves), plan)
    method.draw(torch.Generator().manual_seed(1))
    views = torch.zeros(4, 1, 24, 24)
    faces = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(3)) * 9
    batch = Batch(views, views, faces, torch.full((4,), -1), torch.Generator())
    method.losses(batch)
    counts = [int(b) for n, b in method.encoder.named_buffers() if n.endswith("batches_tracked")]
    assert set(counts) == {3 if moves else 2}
    means = [b for n, b in method.encoder.named_buffers() if n == "bn1.running_mean"]
    assert bool(means[0].abs().sum() > 0) is moves


def test_untouched_statistics_uses_the_batch_and_leaves_the_running_ones() -> None:
    norm = torch.nn.BatchNorm2d(2).train()
    images = torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with untouched_statistics(norm):
        inside = norm(images)
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    torch.testing.assert_close(inside, norm(images))


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    method = made("simclr", epochs=10, warmup_epochs=2, final_lr=0.001)
    lr = method.optimizer.lr
    assert rate_of(method, 0.0) == pytest.approx(0.01 * lr)
    assert rate_of(method, 1.0) == pytest.approx((0.01 * lr + rate_of(method, 2.0)) / 2)
    floor = 0.001 * lr
    assert rate_of(method, 5.0) == pytest.approx(floor + (lr - floor) / 2)
    assert rate_of(method, 5.0) == rate_of(method, 5.9)
    assert rate_of(made("simclr", schedule="constant"), 2.5) == lr
    with pytest.raises(ValidationError, match="leaves none"):
        made("simclr", epochs=2, warmup_epochs=2)


def test_an_encoder_has_one_source_and_the_policy_follows(tmp_path: Path) -> None:
    pretrained = {**NARROW.model_dump(), "pretrain": {"name": "simclr"}}
    assert FERClassifier.model_validate({"encoder": pretrained}).weights == "from_pretrained"
    with pytest.raises(ValidationError, match="never read weights"):
        Encoder.model_validate({**pretrained, "weights": tmp_path / "file.pt"})
    with pytest.raises(ValidationError, match=r"never read encoder\.pretrain"):
        FERClassifier.model_validate({"encoder": pretrained, "weights": "from_scratch"})


def test_simfle_refuses_what_it_cannot_cut_or_group() -> None:
    simfle = made("simfle")
    assert simfle.refusal(NARROW, (48, 48, 1)) is None
    assert "square" in str(simfle.refusal(NARROW, (48, 40, 1)))
    assert "divide" in str(made("simfle", groups=5).refusal(NARROW, (48, 48, 1)))


def test_a_loss_that_is_not_finite_says_what_to_change(task_of: TaskOf) -> None:
    wild = made("byol", optimizer={"name": "sgd", "lr": 1e30})
    with pytest.raises(TrainingError, match=r"lower pretrain\.optimizer\.lr"):
        wild.pretrain(NARROW, task_of(wild, "wild"))


def test_a_fit_starts_from_the_pretrained_weights_and_keeps_them(toy: Toy, task_of: TaskOf) -> None:
    simclr = made("simclr")
    report = simclr.pretrain(NARROW, task_of(simclr, "made"))
    trainer = FERClassifier(
        encoder=NARROW.model_copy(update={"pretrain": simclr}), epochs=1, weights="from_pretrained"
    ).pretrained(report.encoder)
    still = trainer.model_copy(
        update={"optimizer": trainer.optimizer.model_copy(update={"lr": 1e-12})}
    )
    fitted = still.fit(toy.task("fitted"))
    assert fitted.encoder_digest == report.digest
    # After an epoch at almost no learning rate the weights are still those of the pretraining.
    weights = checkpoints.load(fitted.checkpoint)["weights"]
    assert isinstance(weights, dict)
    stored = checkpoints.load(report.encoder)["weights"]
    assert isinstance(stored, dict)
    for name, tensor in stored.items():
        if name.endswith("weight"):
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-6)
