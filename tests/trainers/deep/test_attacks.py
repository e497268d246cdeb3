"""Distances to another class, against closed forms on paper and a loop over single images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from trainers import Attack, Encoder, LinearProbe, PredictTask
from trainers.deep.attacks import BEYOND, flip_distances, least_changes, without_gradients
from trainers.deep.checkpoints import digest_of_weights
from trainers.deep.compute import Mode
from trainers.deep.networks import Network, Plan, build_network
from trainers.deep.scoring import evaluating
from trainers.deep.seeding import generator

if TYPE_CHECKING:
    from tests.trainers.conftest import Toy

pytestmark = pytest.mark.torch

Floats = npt.NDArray[np.float32]
Classify = Callable[[Tensor], Tensor]

DEEPFOOL = Attack("deepfool", max_steps=50, step=0.05, overshoot=0.02)
BIM = Attack("bim", max_steps=50, step=0.05, overshoot=0.02)
BOTH = pytest.mark.parametrize("attack", [DEEPFOOL, BIM], ids=lambda attack: str(attack.method))
PLAN = Plan("resnet10_narrow", 4, in_channels=1, num_classes=4, dropout=0.3)
SINGLE = Mode("float32", True, 1)


def attacked(classify: Classify, images: Tensor, attack: Attack, batch_size: int = 64) -> Floats:
    return least_changes(classify, lambda rows: images[rows], len(images), attack, batch_size)


def pixels_of(*values: float) -> Tensor:
    """Images of one pixel each."""
    return torch.tensor(values).view(-1, 1, 1, 1)


def linear(weight: list[list[float]], bias: list[float]) -> Classify:
    """Logits of images as rows of numbers."""
    return lambda images: images.flatten(1) @ torch.tensor(weight).T + torch.tensor(bias)


X_AGAINST_ONE = linear([[1.0], [0.0]], [0.0, 1.0])
"""Logits (x, 1) of an image of one pixel x: the classes meet at x = 1."""


def network_of(seed: int, plan: Plan = PLAN) -> Network:
    """A network whose logits are far enough apart to be worth an attack."""
    network = SINGLE.place(build_network(plan, generator(seed)), "cpu")
    with torch.no_grad():
        network.head.linear.weight.mul_(20)
    return network


def answers_of(network: Network) -> Classify:
    def classify(images: Tensor) -> Tensor:
        logits: Tensor = network(images)[0]
        return logits

    return classify


def images_of(seed: int, count: int, channels: int = 1) -> Tensor:
    return torch.randn((count, channels, 12, 12), generator=generator(seed))


def slow_twin(classify: Classify, image: Tensor, attack: Attack) -> float:
    """One image, one class at a time, straight from the definitions, in the precision given."""
    change, first = torch.zeros_like(image), int(classify(image).argmax())
    reach = 1 + attack.overshoot if attack.method == "deepfool" else 1.0
    for _ in range(attack.max_steps):
        point = (image + reach * change).requires_grad_()
        if attack.method == "bim":
            loss = F.cross_entropy(classify(point), torch.tensor([first]))
            change = change + attack.step * torch.autograd.grad(loss, point)[0].sign()
        else:
            change = change + nearest_boundary(classify, point, first)
        if int(classify(image + reach * change).argmax()) != first:
            return float(change.norm())
    return float("inf")


def nearest_boundary(classify: Classify, point: Tensor, first: int) -> Tensor:
    logits = classify(point)[0]
    slopes = [torch.autograd.grad(f, point, retain_graph=True)[0] for f in logits]
    best, way = torch.zeros_like(point), float("inf")
    for k in range(len(logits)):
        slope = slopes[k] - slopes[first]
        ratio = (
            float((logits[k] - logits[first]).abs().detach() / slope.norm()) if k != first else way
        )
        if ratio < way:
            best, way = (ratio + 1e-4) * slope / slope.norm(), ratio
    return best


def test_deepfool_steps_to_the_boundary_of_two_classes() -> None:
    assert attacked(X_AGAINST_ONE, pixels_of(3.0, -0.5), DEEPFOOL) == pytest.approx(
        [2 + BEYOND, 1.5 + BEYOND], abs=1e-6
    )


def test_bim_takes_steps_of_one_size_until_the_class_changes() -> None:
    # From 3 by 0.5: at 1 both logits are equal, and the lower class is still the answer.
    half = replace(BIM, step=0.5)
    assert attacked(X_AGAINST_ONE, pixels_of(3.0, 1.75), half).tolist() == [2.5, 1.0]


def test_bim_moves_every_pixel() -> None:
    # Four pixels of 1, whose sum is to fall below 2: three steps of 0.25 each, norm 2 * 0.75.
    total = linear([[1.0] * 4, [0.0] * 4], [0.0, 2.0])
    found = attacked(total, torch.ones(1, 1, 2, 2), replace(BIM, step=0.25))
    assert found.tolist() == [1.5]


def test_of_several_boundaries_the_nearest_is_taken() -> None:
    # Class 0 answers at the origin; 1 is 3 away to the right, 2 is 4 away upwards.
    classes = linear([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0, -3.0, -4.0])
    assert attacked(classes, torch.zeros(1, 1, 1, 2), DEEPFOOL) == pytest.approx([3 + BEYOND])


def test_a_tie_at_the_start_is_a_step_away() -> None:
    assert attacked(X_AGAINST_ONE, pixels_of(1.0), DEEPFOOL) == pytest.approx([BEYOND])


def linear_case(seed: int, count: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = generator(seed)
    images = torch.randn((count, 1, 3, 4), generator=rng)
    return images, torch.randn((classes, 12), generator=rng), torch.randn(classes, generator=rng)


def closed_form(images: Tensor, weight: Tensor, bias: Tensor) -> npt.NDArray[np.float64]:
    """Distances to the nearest of the hyperplanes where a class meets the likeliest one."""
    x, w = images.flatten(1).double().numpy(), weight.double().numpy()
    logits = x @ w.T + bias.double().numpy()
    best = logits.argmax(1)
    ways = np.full(logits.shape, np.inf)
    for i, b in enumerate(best):
        for k in range(len(w)):
            if k != b:
                ways[i, k] = (logits[i, b] - logits[i, k]) / np.linalg.norm(w[b] - w[k])
    nearest: npt.NDArray[np.float64] = ways.min(1)
    return nearest


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 20),
    classes=st.integers(2, 6),
    batch_size=st.integers(1, 25),
)
def test_deepfool_on_a_linear_model_is_the_closed_form(
    seed: int, count: int, classes: int, batch_size: int
) -> None:
    images, weight, bias = linear_case(seed, count, classes)
    found = attacked(lambda x: x.flatten(1) @ weight.T + bias, images, DEEPFOOL, batch_size)
    expected = closed_form(images, weight, bias) + BEYOND
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@BOTH
def test_many_images_at_once_are_as_one_at_a_time(attack: Attack) -> None:
    network, images = network_of(1), images_of(2, 40)
    with evaluating(network):
        together = attacked(answers_of(network), images, attack, 32)
        alone = attacked(answers_of(network), images, attack, 1)
    np.testing.assert_allclose(together, alone, rtol=1e-3)


@BOTH
def test_a_loop_over_images_and_classes_finds_the_same(attack: Attack) -> None:
    network, images = network_of(3), images_of(4, 12)
    with evaluating(network):
        found = attacked(answers_of(network), images, attack, 10)
    # But for the pool, whose sums the encoder takes in float32.
    double = network.double().eval().requires_grad_(requires_grad=False)

    def classify(points: Tensor) -> Tensor:
        logits: Tensor = double.head.linear(double.encoder(points).double())
        return logits

    slow = [slow_twin(classify, image[None].double(), attack) for image in images]
    assert len({round(value, 2) for value in slow}) > 3
    np.testing.assert_allclose(found, slow, rtol=1e-3)


def test_rows_that_take_long_do_not_keep_others_from_theirs() -> None:
    # One step each, but for the third, which never arrives.
    near = replace(BIM, step=0.5, max_steps=9)
    images = pixels_of(1.25, 0.75, 99.0, 1.25, 0.75, 1.25)
    found = attacked(X_AGAINST_ONE, images, near, batch_size=2)
    assert found.tolist() == [0.5, 0.5, np.inf, 0.5, 0.5, 0.5]


@BOTH
def test_no_more_images_are_looked_at_at_once_than_allowed(attack: Attack) -> None:
    seen: list[int] = []

    def classify(images: Tensor) -> Tensor:
        seen.append(len(images))
        return X_AGAINST_ONE(images)

    attacked(classify, torch.linspace(0, 4, 40).view(-1, 1, 1, 1), attack, batch_size=8)
    assert max(seen) == 8
    assert min(seen) >= 1


@BOTH
def test_an_image_that_cannot_be_moved_is_given_up_at_once(attack: Attack) -> None:
    seen: list[int] = []

    def flat(images: Tensor) -> Tensor:
        seen.append(len(images))
        return linear([[2.0], [2.0]], [1.0, 0.0])(images)

    assert attacked(flat, pixels_of(1.0, 2.0), attack).tolist() == [np.inf, np.inf]
    assert seen == [2]


@pytest.mark.parametrize(("max_steps", "distance"), [(5, 2.5), (4, np.inf)])
def test_the_last_step_counts_and_no_step_after_it(max_steps: int, distance: float) -> None:
    attack = replace(BIM, step=0.5, max_steps=max_steps)
    assert attacked(X_AGAINST_ONE, pixels_of(3.0), attack).tolist() == [distance]


@BOTH
def test_with_one_class_the_distance_is_infinite(attack: Attack) -> None:
    assert attacked(linear([[1.0]], [0.0]), pixels_of(1.0), attack).tolist() == [np.inf]


@BOTH
def test_a_way_out_of_all_numbers_is_no_flip(attack: Attack) -> None:
    def classify(images: Tensor) -> Tensor:
        x = images.flatten(1)
        return torch.cat([x, torch.where(x < 3, torch.nan, 0.0)], dim=1)

    assert attacked(classify, pixels_of(3.01), attack).tolist() == [np.inf]


@BOTH
def test_an_image_without_logits_has_no_distance(attack: Attack) -> None:
    found = attacked(X_AGAINST_ONE, pixels_of(torch.nan, 1.02), attack)
    assert np.isnan(found[0])
    assert np.isfinite(found[1])


def test_bim_moves_where_the_network_is_surer_than_float32_can_say() -> None:
    # The gradient of the cross-entropy is exactly zero here: exp(-1000) underflows.
    steep = linear([[1000.0], [0.0]], [0.0, 0.0])
    half = replace(BIM, step=0.5)
    assert attacked(steep, pixels_of(1.25), half).tolist() == [1.5]


@BOTH
def test_no_images_give_no_distances(attack: Attack) -> None:
    assert attacked(X_AGAINST_ONE, pixels_of(), attack).shape == (0,)


def task_of(toy: Toy, attack: Attack) -> PredictTask:
    return toy.predict_task(
        toy.root / "checkpoint.pt", "flip_distances", attack=attack, folder=attack.method
    )


@BOTH
def test_an_attack_leaves_the_network_as_it_was(toy: Toy, attack: Attack) -> None:
    network = network_of(5).train()
    network.head.linear.bias.requires_grad = False
    before = digest_of_weights(network.state_dict())
    assert np.isfinite(flip_distances(task_of(toy, attack), network, SINGLE)).any()
    assert digest_of_weights(network.state_dict()) == before
    assert network.training
    assert all(weight.grad is None for weight in network.parameters())
    fixed = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    assert fixed == ["head.linear.bias"]


def test_weights_have_no_gradients_inside_even_if_the_attack_fails() -> None:
    network = network_of(6)

    def interrupted() -> None:
        with without_gradients(network):
            assert not any(weight.requires_grad for weight in network.parameters())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(weight.requires_grad for weight in network.parameters())


@BOTH
def test_the_learners_precision_makes_no_difference(toy: Toy, attack: Attack) -> None:
    network, task = network_of(7), task_of(toy, attack)
    single = flip_distances(task, network, SINGLE)
    assert (flip_distances(task, network, replace(SINGLE, precision="bfloat16")) == single).all()


def test_dropout_takes_no_part(toy: Toy) -> None:
    sure = network_of(8, replace(PLAN, dropout=0.0))
    unsure = network_of(8, replace(PLAN, dropout=0.9)).train()
    task = task_of(toy, DEEPFOOL)
    assert (flip_distances(task, unsure, SINGLE) == flip_distances(task, sure, SINGLE)).all()


def test_a_grey_image_is_changed_once_and_not_in_each_channel_it_is_shown_in() -> None:
    coloured = network_of(9, replace(PLAN, in_channels=3)).eval()
    grey = network_of(9).eval()
    grey.load_state_dict(
        {
            name: weight.sum(1, keepdim=True) if name == "encoder.conv1.weight" else weight
            for name, weight in coloured.state_dict().items()
        }
    )
    images = images_of(10, 12)
    found, expected = (attacked(answers_of(each), images, DEEPFOOL) for each in (coloured, grey))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_images_are_attacked_as_the_network_sees_them(toy: Toy) -> None:
    network = network_of(11)
    found = flip_distances(task_of(toy, DEEPFOOL), network, SINGLE)
    packed = np.load(toy.images.path)[np.arange(30, -1, -1)].astype(np.float32) / 255
    seen = torch.from_numpy((packed - toy.images.mean[0]) / toy.images.std[0]).permute(0, 3, 1, 2)
    with evaluating(network):
        expected = attacked(answers_of(network), seen, DEEPFOOL)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@BOTH
def test_a_probe_is_attacked_through_its_encoder_and_its_head(toy: Toy, attack: Attack) -> None:
    probe = LinearProbe(encoder=Encoder(name="resnet10_narrow", width=4), encoder_seed=5)
    checkpoint = probe.fit(toy.task()).checkpoint
    task = toy.predict_task(checkpoint, "flip_distances", "head", attack=attack)
    found = probe.predict(task)
    network = build_network(replace(PLAN, num_classes=3, dropout=0.0), generator(5, "init", 0))
    head: dict[str, Floats] = dict(np.load(Path(found.files["head"])))
    with torch.no_grad():
        network.head.linear.weight.copy_(torch.from_numpy(head["weight"]))
        network.head.linear.bias.copy_(torch.from_numpy(head["bias"]))
    expected = flip_distances(task, SINGLE.place(network, "cpu"), SINGLE)
    np.testing.assert_allclose(np.load(found.files["flip_distances"]), expected, rtol=1e-3)
    assert np.isfinite(expected).any()


@pytest.mark.gpu
@BOTH
def test_a_gpu_finds_what_a_cpu_finds(toy: Toy, attack: Attack) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    task = task_of(toy, attack)
    expected = flip_distances(task, network_of(12), SINGLE)
    network = SINGLE.place(network_of(12), "cuda")
    found = flip_distances(replace(task, device="cuda"), network, SINGLE)
    np.testing.assert_allclose(found, expected, rtol=1e-2)
