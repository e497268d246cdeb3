"""Each optimiser is torch's; SAM against its definition; what a kill must not change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from trainers import FERClassifier, TrainingError
from trainers.deep.compute import Mode
from trainers.deep.epoch import EpochSetting, TrainingSet, _order
from trainers.deep.optimizing import climbed, make_optimizer
from trainers.optimizers import SAM, Optimizer
from trainers.recipes import Recipe

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

ADAPTER: TypeAdapter[Any] = TypeAdapter(Optimizer)
TWINS: dict[str, tuple[dict[str, Any], Any]] = {
    "sgd": (
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    ),
    "adam": (
        {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.01, "amsgrad": True},
        lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.9), weight_decay=0.01, amsgrad=True),
    ),
    "adamw": (
        {"lr": 0.1, "weight_decay": 0.1},
        lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1),
    ),
    "adadelta": ({"rho": 0.8}, lambda p: torch.optim.Adadelta(p, 1.0, rho=0.8)),
    "adagrad": ({"lr": 0.1}, lambda p: torch.optim.Adagrad(p, 0.1)),
    "rmsprop": ({"lr": 0.1, "momentum": 0.5}, lambda p: torch.optim.RMSprop(p, 0.1, momentum=0.5)),
    "asgd": ({"lr": 0.1}, lambda p: torch.optim.ASGD(p, 0.1)),
}


def small(**fields: Any) -> FERClassifier:
    settings: dict[str, Any] = {
        "encoder": {"name": "resnet10_narrow", "width": 4},
        "epochs": 4,
        "batch_size": 16,
        "checkpoint_every_s": 0,
        **fields,
    }
    return FERClassifier.model_validate(settings)


@pytest.mark.parametrize("name", TWINS)
def test_each_optimiser_is_torchs_with_the_settings_given(name: str) -> None:
    fields, twin = TWINS[name]
    weights = [torch.linspace(-1, 1, 5, requires_grad=True) for _ in range(2)]
    ours = make_optimizer(ADAPTER.validate_python({"name": name, **fields}), [weights[0]])
    theirs = twin([weights[1]])
    for _ in range(5):
        for weight, optimizer in zip(weights, (ours, theirs), strict=True):
            optimizer.zero_grad()
            torch.autograd.backward((weight**3 - weight).sum())
            optimizer.step()
    torch.testing.assert_close(weights[0], weights[1])


def test_every_optimiser_is_compared() -> None:
    names = {s["properties"]["name"]["const"] for s in ADAPTER.json_schema()["$defs"].values()}
    assert names == set(TWINS)


@pytest.mark.parametrize("name", TWINS)
def test_killed_with_any_optimiser_a_fit_ends_in_the_same_bits(
    toy: Toy, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = small(optimizer={"name": name, "lr": 0.01}, sam={} if name == "adam" else None)
    whole = trainer.fit(toy.task("whole"))
    assert np.isfinite(whole.metrics["train/loss"])

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    killed = toy.task("killed")
    with monkeypatch.context() as patch:
        patch.setattr("trainers.deep.fit.total_epochs", lambda *_: 4)
        patch.setattr("trainers.deep.fit._look", die)  # at the first look at the validation set
        with pytest.raises(KeyboardInterrupt):
            small(**{**trainer.model_dump(), "validate_every": 3}).fit(killed)
    # Three epochs were begun; two are on disk.
    again = small(**{**trainer.model_dump(), "validate_every": 3}).fit(
        toy.task("again", resume_from=killed.out_dir)
    )
    assert again.checkpoint_digest == whole.checkpoint_digest


def test_sam_steps_by_the_gradient_at_the_worst_place_near_by() -> None:
    """The definition, on a function whose gradient is known: f(w) = Σ w⁴/4, ∇f = w³."""
    start = torch.tensor([1.0, -2.0, 0.5])
    weight = nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([weight], lr=0.1)
    torch.autograd.backward((weight**4 / 4).sum())
    with climbed(SAM(rho=0.05), [weight]):
        worst = start + 0.05 * start**3 / torch.linalg.vector_norm(start**3)
        torch.testing.assert_close(weight.detach(), worst)
        optimizer.zero_grad()
        torch.autograd.backward((weight**4 / 4).sum())
    assert torch.equal(weight.detach(), start)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), start - 0.1 * worst**3)


def test_sam_with_no_slope_stays_where_it_is() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.zeros(2)
    with climbed(SAM(), [weight]):
        assert torch.equal(weight.detach(), torch.ones(2))


def test_sam_learns_another_way_and_moves_statistics_once_a_step(toy: Toy) -> None:
    plain, sharp = small(epochs=1), small(epochs=1, sam={"rho": 0.05})
    one, other = plain.fit(toy.task("plain")), sharp.fit(toy.task("sharp"))
    assert one.checkpoint_digest != other.checkpoint_digest
    # The first minibatch is the same in both, and so is its loss; the rest is not.
    weights = [
        torch.load(report.checkpoint, weights_only=True)["weights"] for report in (one, other)
    ]
    counts = {name for name in weights[0] if name.endswith("num_batches_tracked")}
    assert counts
    for name in counts:
        assert weights[0][name] == weights[1][name] == 4


def test_balanced_sampling_shows_every_class_as_often(toy: Toy) -> None:
    examples = toy.examples(0, 64)
    rare = replace(examples, labels=np.array([0] * 58 + [1] * 6))
    seen = np.zeros(2)
    for number in range(1, 40):
        training = TrainingSet.open(toy.images, rare, "cpu")
        setting = EpochSetting(number, [0.1], seed=3, mode=Mode("float32", True, 1))
        order = _order(training, Recipe(sampling="balanced"), setting)
        assert len(order) == 64
        seen += np.bincount(rare.labels[order.numpy()], minlength=2)
    assert seen[1] / seen.sum() == pytest.approx(0.5, abs=0.04)  # 2,496 draws: sd 0.01
    report = small(sampling="balanced", epochs=2).fit(toy.task("balanced"))
    assert report.epochs == 2


def test_a_plateau_without_a_validation_set_is_refused(toy: Toy) -> None:
    task = toy.task(validation=toy.examples(0, 0))
    with pytest.raises(TrainingError, match="plateau follows the validation set"):
        small(schedule="plateau").fit(task)
