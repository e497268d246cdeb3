"""DACL's loss, its centres and its attention network, against the formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from trainers import FERClassifier
from trainers.center_loss import CenterLoss
from trainers.deep.losses.centers import gradient_step, moving_average_step, sparse_center_loss
from trainers.deep.nets.attention import AttentionNet
from trainers.deep.networks import Plan, build_network, load_learner, with_centers
from trainers.deep.seeding import generator

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch


def drawn(batch: int = 8, width: int = 5, classes: int = 3) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    f, a = torch.randn(2, batch, width, generator=rng, dtype=torch.float64)
    c = torch.randn(classes, width, generator=rng, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])[:batch]
    return f, a.sigmoid(), c, labels


def test_the_loss_is_half_the_mean_of_weighed_squared_distances() -> None:
    f, a, c, labels = drawn()
    total = sum(
        float(a[i, j]) * (float(f[i, j]) - float(c[labels[i], j])) ** 2
        for i in range(8)
        for j in range(5)
    )
    assert float(sparse_center_loss(f, a, c, labels)) == pytest.approx(total / 16)


def test_gradients_are_those_of_the_paper() -> None:
    f, a, c, labels = drawn()
    f.requires_grad_()
    a.requires_grad_()
    c.requires_grad_()
    torch.autograd.backward(sparse_center_loss(f, a, c, labels))
    away = (f - c[labels]).detach()
    torch.testing.assert_close(f.grad, a.detach() * away / 8)
    torch.testing.assert_close(a.grad, away**2 / 16)
    assert c.grad is None


def test_centres_step_by_the_classs_sum_over_one_more_than_its_count() -> None:
    f, a, c, labels = drawn()
    step = moving_average_step(f, a, c, labels)
    for k, count in enumerate((3, 5, 0)):
        mine = labels == k
        expected = -(a[mine] * (f[mine] - c[k])).sum(0) / (1 + count)
        torch.testing.assert_close(step[k], expected)
    assert not step[2].any()  # a class that is not there stays


def test_the_step_is_200_times_the_weighted_gradient_at_the_published_sizes() -> None:
    # λ = 0.01, B = 8, n = 3: (1/(1 + n)) / (λ/B) = 200.
    f, a, c, labels = drawn()
    ratio = moving_average_step(f, a, c, labels)[0] / (0.01 * gradient_step(f, a, c, labels)[0])
    torch.testing.assert_close(ratio, torch.full_like(ratio, 200.0))


def test_the_gradient_step_is_autograds() -> None:
    f, a, c, labels = drawn()
    c.requires_grad_()
    loss = (a * (f - c[labels]) ** 2).sum() / 16
    [grad] = torch.autograd.grad(loss, c)
    torch.testing.assert_close(gradient_step(f, a, c.detach(), labels), grad)


def test_the_published_attention_network_has_its_size() -> None:
    with torch.device("meta"):
        net = AttentionNet(25_088, (3584, 512, 64), 512)
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [
        (3584, 25_088),
        (512, 3584),
        (64, 512),
        (1024, 64),
    ]
    assert sum(layer.weight.numel() for layer in linear) == 91_848_704
    kinds = [type(layer).__name__ for layer in net.attention]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d", "Tanh"]


def test_its_input_is_the_last_map_of_whatever_encoder_and_image() -> None:
    plan = Plan("resnet18", 0, 3, 7, 0.0)
    assert with_centers(plan, CenterLoss(), (224, 224)).attention == (25_088, 3584, 512, 64)
    narrow = Plan("resnet10_narrow", 4, 1, 7, 0.0)
    made = with_centers(narrow, CenterLoss(hidden=(48, 32, 16)), (24, 24))
    assert made.attention == (32 * 3 * 3, 48, 32, 16)
    assert with_centers(narrow, CenterLoss(kind="plain"), (24, 24)).attention == ()
    assert with_centers(narrow, None, (24, 24)) == narrow


def test_weights_are_between_nothing_and_all() -> None:
    plan = with_centers(Plan("resnet10_narrow", 4, 1, 3, 0.0), CenterLoss(hidden=(16, 8)), (16, 16))
    network = build_network(plan, generator(0, "init"))
    images = torch.randn(6, 1, 16, 16, generator=generator(1, "images"))
    logits, embeddings, attention = network.attend(images)
    assert attention.shape == embeddings.shape == (6, 32)
    assert 0 < attention.min().item() < attention.max().item() < 1
    torch.testing.assert_close((logits, embeddings), network(images))
    assert float(network.centers.std()) == pytest.approx((2 / 3) ** 0.5, rel=0.2)  # type: ignore[operator]


def classifier(**center: Any) -> FERClassifier:
    settings = {"hidden": (16, 8), **center}
    fields: dict[str, Any] = {
        "encoder": {"name": "resnet10_narrow", "width": 4},
        "epochs": 4,
        "batch_size": 16,
        "checkpoint_every_s": 0,
        "center_loss": settings,
    }
    return FERClassifier.model_validate(fields)


@pytest.mark.parametrize(
    "center", [{"kind": "attentive"}, {"kind": "plain"}, {"update": "gradient", "weight": 0.1}]
)
def test_a_fit_moves_centres_keeps_them_and_tells_of_its_terms(
    toy: Toy, center: dict[str, Any]
) -> None:
    trainer = classifier(**center)
    report = trainer.fit(toy.task())
    network, _ = load_learner(report.checkpoint)
    first = build_network(network.plan, generator(7, "init", 0))
    assert not torch.equal(network.centers, first.centers)  # type: ignore[arg-type]
    assert report.metrics["train/loss"] == pytest.approx(
        report.metrics["train/cross_entropy"]
        + trainer.center_loss.weight * report.metrics["train/center_loss"],  # type: ignore[union-attr]
        rel=1e-5,
    )
    spread = report.metrics["train/attention_deviation"]
    assert spread > 0 if network.plan.attention else spread == 0
    scored = trainer.predict(toy.predict_task(report.checkpoint, "log_probs", "embeddings"))
    assert {"log_probs", "embeddings"} <= scored.files.keys()


def test_the_weight_leaves_moving_averages_alone(toy: Toy) -> None:
    """λ = 0 trains as plain cross-entropy does, and the centres move all the same."""
    without = classifier().model_copy(update={"center_loss": None}).fit(toy.task("without"))
    idle = classifier(weight=0.0).fit(toy.task("idle"))
    plain, network = (load_learner(r.checkpoint)[0] for r in (without, idle))
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight, rtol=1e-4, atol=1e-5)
    first = build_network(network.plan, generator(7, "init", 0))
    assert not torch.equal(network.centers, first.centers)  # type: ignore[arg-type]


def test_killed_it_goes_on_with_its_centres(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = classifier(kind="attentive").model_copy(update={"validate_every": 3})
    whole = trainer.fit(toy.task("whole"))
    killed = toy.task("killed")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trainers.deep.fit._look", die)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(killed)
    again = trainer.fit(toy.task("again", resume_from=killed.out_dir))
    assert again.checkpoint_digest == whole.checkpoint_digest


def test_a_warm_start_needs_the_same_attention(toy: Toy) -> None:
    first = classifier().fit(toy.task("first"))
    warm = classifier().model_copy(update={"weights": "warm_start"})
    second = warm.fit(toy.task("second", previous=first.checkpoint))
    assert second.initial_digest == first.checkpoint_digest
    other = classifier(hidden=(12, 8)).model_copy(update={"weights": "warm_start"})
    with pytest.raises(Exception, match="needs the same network"):
        other.fit(toy.task("third", previous=first.checkpoint))
