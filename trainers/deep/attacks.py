"""The least change of an image that changes its class: many images at once, each by itself.

In evaluation mode no row of a network's answer depends on another, so the gradient of a sum over
rows is every row's own gradient: one backward pass serves the whole batch. Rows that are done make
room for new ones. Nothing of the network is changed, and no gradient of its weights is taken.

A change is measured in what the network is given: normalised pixels, in which one deviation is 1,
each channel of the image file once. The network is computed in float32 whatever the learner's own
precision, since a class flips where numbers are closest; the class to leave is that of this
network.

Legend: ``N`` images, ``B`` of them at a time, ``C`` classes, ``Ch, H, W`` image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainers.base import Attack, PredictTask
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.networks import Network
from trainers.deep.scoring import block_size, evaluating

BEYOND = 1e-4
"""What DeepFool adds to the way to a boundary, so that it lands behind it."""

Floats = npt.NDArray[np.float32]


def flip_distances(task: PredictTask, network: Network, mode: Mode) -> Floats:
    """(N,) of `task.rows` by `task.attack`: see `least_changes`.

    Args:
        task: Images, rows and attack.
        network: On the task's device, in the layout of `mode`.
        mode: How the network is computed, but for the precision.
    """
    assert task.attack is not None  # PredictTask saw that it is given
    pixels, normalise = (
        Pixels(task.images, task.rows, task.device),
        Normaliser(task.images, task.device),
    )

    def take(rows: slice) -> Tensor:
        return normalise(pixels.take(torch.arange(rows.start, rows.stop)))

    def classify(points: Tensor) -> Tensor:
        # Without `mode.autocast`, so in float32.
        return cast("Tensor", network(mode.arrange(points))[0])

    size = block_size(pixels.shape, task.device)
    with evaluating(network), without_gradients(network), whole_float32(task.device):
        return least_changes(classify, take, len(pixels), task.attack, size)


@torch.no_grad()
def least_changes(
    classify: Callable[[Tensor], Tensor],
    take: Callable[[slice], Tensor],
    count: int,
    attack: Attack,
    batch_size: int,
) -> Floats:
    """(N,) Euclidean norms of the smallest changes found that change a class.

    DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599, algorithm 2) takes the network for
    linear where it stands and steps to the nearest boundary, and `BEYOND`. It ends when the class
    has changed at (1 + overshoot) times the sum of its steps; that sum is the change. BIM (Kurakin
    et al. 2016, arXiv 1607.02533) moves each pixel by `step` along the sign of the gradient of the
    cross-entropy; here until the class changes, and without clipping.

    Args:
        classify: (B, Ch, H, W) -> logits (B, C), row by row.
        take: The images at these positions, (B, Ch, H, W) float32.
        count: N.
        attack: Which one, and how far it goes.
        batch_size: Images at a time.

    Returns:
        The norms in float32: inf where the class is the same after `max_steps`, where no gradient
        leads anywhere or the way leads out of all numbers; NaN where the image itself has logits
        that are no numbers.
    """
    search = _DeepFool(attack) if attack.method == "deepfool" else _BIM(attack)
    batch, taken = _Batch.of(take(slice(0, 0)), 0), 0
    distances = torch.full((count,), torch.inf, device=batch.images.device)
    while True:
        stop = min(count, taken + batch_size - len(batch))
        if stop > taken:
            batch = batch.joined_by(_Batch.of(take(slice(taken, stop)), taken))
            taken = stop
        if not len(batch):
            return distances.cpu().numpy()
        batch = _advance(classify, batch, search, distances)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Images whose class has not changed yet."""

    positions: Tensor  # (B,) int64
    images: Tensor  # (B, Ch, H, W)
    changes: Tensor  # (B, Ch, H, W) sum of steps
    steps: Tensor  # (B,) int64, taken so far
    classes: Tensor  # (B,) int64, to be left; meaningless before the first step

    @classmethod
    def of(cls, images: Tensor, start: int) -> _Batch:
        positions = torch.arange(start, start + len(images), device=images.device)
        nothing = torch.zeros_like(positions)
        return cls(positions, images, torch.zeros_like(images), nothing, nothing)

    def __len__(self) -> int:
        return len(self.positions)

    def _parts(self) -> tuple[Tensor, ...]:
        return self.positions, self.images, self.changes, self.steps, self.classes

    def joined_by(self, other: _Batch) -> _Batch:
        pairs = zip(self._parts(), other._parts(), strict=True)
        return _Batch(*(torch.cat(pair) for pair in pairs))

    def kept(self, is_kept: Tensor) -> _Batch:
        return _Batch(*(part[is_kept] for part in self._parts()))


class _DeepFool:
    """Steps to the nearest boundary of the network made linear."""

    def __init__(self, attack: Attack) -> None:
        self.max_steps = attack.max_steps
        self.reach = 1 + attack.overshoot

    def passes(self, num_classes: int) -> int:
        """Backward passes a step."""
        return num_classes - 1

    def step(self, logits: Tensor, points: Tensor, classes: Tensor) -> Tensor:
        """(B, Ch, H, W); zero where all differences of logits are flat."""
        num_others, own = self.passes(logits.shape[1]), classes[:, None]
        nearest = torch.full(classes.shape, torch.inf, dtype=torch.float64, device=logits.device)
        step = torch.zeros_like(points)
        for rank in range(num_others):
            # Every row's rank-th other class in ascending order, so that ties go to the lowest.
            other = rank + (rank >= own).long()
            towards = torch.zeros_like(logits).scatter(1, other, 1.0).scatter(1, own, -1.0)
            (slope,) = torch.autograd.grad(
                logits, points, towards, retain_graph=rank + 1 < num_others
            )
            steepness = _norms(slope)
            gap = (logits.gather(1, own) - logits.gather(1, other)).abs().squeeze(1).double()
            way = torch.where(steepness > 0, gap / steepness, torch.inf)
            is_nearer = way < nearest
            scale = ((way + BEYOND) / steepness).float()
            step = torch.where(_as_images(is_nearer), slope * _as_images(scale), step)
            nearest = torch.where(is_nearer, way, nearest)
        return step


class _BIM:
    """Moves every pixel alike, in the direction in which the class becomes less likely."""

    reach = 1.0

    def __init__(self, attack: Attack) -> None:
        self.max_steps = attack.max_steps
        self._step = attack.step

    def passes(self, num_classes: int) -> int:  # noqa: ARG002 - as of every search
        return 1

    def step(self, logits: Tensor, points: Tensor, classes: Tensor) -> Tensor:
        """(B, Ch, H, W); zero where the gradient is.

        The gradient of the cross-entropy by the logits, p - e, divided by the probability of all
        other classes: the signs are the same, and nothing underflows where the network is sure.
        """
        own = classes[:, None]
        others = logits.detach().scatter(1, own, -torch.inf).softmax(1)
        (slope,) = torch.autograd.grad(logits, points, others.scatter(1, own, -1.0))
        return self._step * slope.sign()


def _advance(
    classify: Callable[[Tensor], Tensor],
    batch: _Batch,
    search: _DeepFool | _BIM,
    distances: Tensor,
) -> _Batch:
    """Looks where the rows stand, writes the distances of those that are done, moves the others."""
    logits, points = _look(classify, batch, search.reach)
    classes = torch.where(batch.steps == 0, logits.argmax(1), batch.classes)
    batch = replace(batch, classes=classes)
    is_over = _settle(batch, logits, search.max_steps, distances)
    num_over = int(is_over.sum())
    # Backward passes go through the whole batch: where many rows are done, the others look again.
    if num_over * search.passes(logits.shape[1]) > len(batch) - num_over:
        batch = batch.kept(~is_over)
        if not len(batch):
            return batch
        logits, points = _look(classify, batch, search.reach)
        is_over = is_over[~is_over]
    step = search.step(logits, points, batch.classes)
    moved = replace(batch, changes=batch.changes + step, steps=batch.steps + 1)
    return moved.kept(~is_over & (step != 0).flatten(1).any(1))


def _look(
    classify: Callable[[Tensor], Tensor], batch: _Batch, reach: float
) -> tuple[Tensor, Tensor]:
    """Logits (B, C), and the points (B, Ch, H, W) whose gradients they keep."""
    points = torch.add(batch.images, batch.changes, alpha=reach).requires_grad_()
    with torch.enable_grad():
        return classify(points), points


def _settle(batch: _Batch, logits: Tensor, max_steps: int, distances: Tensor) -> Tensor:
    """Which rows are done, (B,); writes what there is to say of them."""
    is_number = logits.isfinite().all(1)
    is_flipped = is_number & (logits.argmax(1) != batch.classes)
    flipped = batch.kept(is_flipped)
    distances[flipped.positions] = _norms(flipped.changes).float()
    distances[batch.positions[~is_number & (batch.steps == 0)]] = torch.nan
    return is_flipped | ~is_number | (batch.steps >= max_steps)


def _norms(images: Tensor) -> Tensor:
    """(B, Ch, H, W) -> (B,) float64."""
    norms: Tensor = torch.linalg.vector_norm(images.flatten(1), dim=1, dtype=torch.float64)
    return norms


def _as_images(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


@contextmanager
def without_gradients(network: nn.Module) -> Iterator[None]:
    """Inside, no gradient of a weight is computed or kept."""
    before = [(weight, weight.requires_grad) for weight in network.parameters()]
    network.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for weight, had_gradient in before:
            weight.requires_grad_(had_gradient)


@contextmanager
def whole_float32(device: str) -> Iterator[None]:
    """Inside, a GPU's convolutions do not round their inputs to ten bits (TF32)."""
    if torch.device(device).type != "cuda":
        yield
        return
    convolutions = cast("Any", torch.backends.cudnn).conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before
