"""One pass over the labelled set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.base import Examples, Images, TrainingError
from trainers.center_loss import CenterLoss
from trainers.deep.compute import Mode
from trainers.deep.erasing import kept_pixels
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.losses.centers import gradient_step, moving_average_step, sparse_center_loss
from trainers.deep.networks import Network
from trainers.deep.noise import with_noise
from trainers.deep.optimizing import climbed
from trainers.deep.seeding import generator
from trainers.deep.statistics import untouched_statistics
from trainers.deep.views import views_of
from trainers.fer_classifier import FERClassifier
from trainers.recipes import Recipe

VIEWS_AT_A_TIME = 512
"""Views are made for so many images at once: a minibatch of 20 alone would be all overhead."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The labelled images, ready to be drawn from."""

    pixels: Pixels
    labels: Tensor  # (M,) int64, on the device
    targets: Tensor  # what the loss aims at: the labels, or (M, C) shares of votes
    normalise: Normaliser

    @classmethod
    def open(cls, images: Images, examples: Examples, device: str) -> TrainingSet:
        pixels = Pixels(images, examples.rows, device, resident=True)
        labels = torch.from_numpy(examples.labels.astype(np.int64)).to(device)
        shares = examples.shares
        targets = labels if shares is None else torch.tensor(shares, device=device)
        return cls(pixels, labels, targets, Normaliser(images, device))

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class EpochSetting:
    """What is particular to one epoch."""

    number: int  # from 1
    rates: Sequence[float]  # the learning rate of each step
    seed: int
    mode: Mode


def minibatch_sizes(count: int, batch_size: int) -> list[int]:
    """Sizes of the minibatches of one epoch; a last one of a single image joins the one before.

    Batch norm over one image divides by its own deviation, which tells the network nothing.
    """
    sizes = [batch_size] * (count // batch_size)
    rest = count - sum(sizes)
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


@dataclass(frozen=True)
class Learnt:
    """What an epoch came to; means over images."""

    loss: float
    accuracy: float  # running, in training mode
    terms: dict[str, float]  # of a loss that has several


def train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    examples: TrainingSet,
    trainer: FERClassifier,
    setting: EpochSetting,
) -> Learnt:
    """Takes one step a minibatch.

    Raises:
        TrainingError: The loss is not finite.
    """
    network.train()
    network.reseed(setting.seed, setting.number)
    device = examples.labels.device
    sums: dict[str, Tensor] = {}
    seen = 0
    made = _minibatches(examples, trainer, setting)
    for rate, (images, labels, targets) in zip(setting.rates, made, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        passed = _pass(network, trainer, setting.mode, images, targets)
        _backward(optimizer, passed.loss)
        if trainer.sam is not None:
            with climbed(trainer.sam, network.parameters()), untouched_statistics(network):
                again = _pass(network, trainer, setting.mode, images, targets)
                _backward(optimizer, again.loss)
        optimizer.step()
        if trainer.center_loss is not None:
            _move_centers(network, trainer.center_loss, passed, labels)
        seen += len(labels)
        # Kept on the device: reading them would wait for each step.
        hits = (passed.logits.argmax(1) == _of_crops(labels, passed.logits)).sum() / (
            len(passed.logits) / len(labels)
        )
        for name, value in {"loss": passed.loss, **passed.terms}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach() * len(
                labels
            )
        sums["hits"] = sums.get("hits", torch.zeros((), device=device)) + hits
    means = {name: total.item() / seen for name, total in sums.items()}
    loss, accuracy = means.pop("loss"), means.pop("hits")
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} in epoch {setting.number} at learning rate "
            f"{max(setting.rates):g}; lower trainer.optimizer.lr"
        )
    return Learnt(loss, accuracy, means)


@dataclass(frozen=True, eq=False)
class _Passed:
    """What a forward pass gave."""

    loss: Tensor
    logits: Tensor
    embeddings: Tensor
    attention: Tensor | None  # (B, D), where there is a centre loss
    terms: dict[str, Tensor]


def _pass(
    network: Network, trainer: FERClassifier, mode: Mode, images: Tensor, targets: Tensor
) -> _Passed:
    smoothing, settings = trainer.label_smoothing, trainer.center_loss
    if settings is None:
        with mode.autocast(targets.device.type):
            logits, embeddings = network(images)
        aims = _of_crops(targets, logits)
        loss = F.cross_entropy(logits, aims, label_smoothing=smoothing)
        return _Passed(loss, logits, embeddings, None, {})
    with mode.autocast(targets.device.type):
        logits, embeddings, attention = network.attend(images)
    entropy = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    center = sparse_center_loss(embeddings, attention, cast("Tensor", network.centers), targets)
    terms = {
        "cross_entropy": entropy,
        "center_loss": center,
        "attention_mean": attention.mean(),
        "attention_deviation": attention.std(correction=0),
    }
    return _Passed(entropy + settings.weight * center, logits, embeddings, attention, terms)


def _of_crops(targets: Tensor, logits: Tensor) -> Tensor:
    """The target of each row of logits, where an image has several."""
    return targets.repeat_interleave(len(logits) // len(targets), dim=0)


def _backward(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Leaves the gradients of this loss alone."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)


def _move_centers(network: Network, settings: CenterLoss, passed: _Passed, labels: Tensor) -> None:
    """C ← c - α Δc, after the step and by what was seen before it."""
    centers, attention = cast("Tensor", network.centers), cast("Tensor", passed.attention)
    seen = passed.embeddings.detach(), attention.detach(), centers, labels
    if settings.update == "moving_average":
        centers -= settings.rate * moving_average_step(*seen)
    else:
        centers -= settings.rate * settings.weight * gradient_step(*seen)


def _order(examples: TrainingSet, recipe: Recipe, setting: EpochSetting) -> Tensor:
    """(M,) positions: each image once, or as `Recipe.sampling` says."""
    count, rng = len(examples), generator(setting.seed, "order", setting.number)
    if recipe.sampling == "shuffle":
        return torch.randperm(count, generator=rng)
    labels = examples.labels.cpu()
    weights = labels.bincount()[labels].double().reciprocal()
    return torch.multinomial(weights, count, replacement=True, generator=rng)


def _minibatches(
    examples: TrainingSet, recipe: Recipe, setting: EpochSetting
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Views, labels and targets in this epoch's order; all chance is drawn before the first."""
    count = len(examples)
    order = _order(examples, recipe, setting)
    views = views_of(recipe.augmentation, examples.pixels.shape[:2])
    rng = generator(setting.seed, "views", setting.number)
    draws = views.draw(count, rng)
    sizes = minibatch_sizes(count, recipe.batch_size)
    together = max(1, VIEWS_AT_A_TIME // recipe.batch_size)
    erasing, holes = recipe.erasing, generator(setting.seed, "erasing", setting.number)
    grains = generator(setting.seed, "noise", setting.number)
    start = 0
    for first in range(0, len(sizes), together):
        group = sizes[first : first + together]
        positions = order[start : start + sum(group)]
        start += sum(group)
        pixels = examples.pixels.take(positions)
        seen = views.apply(pixels, draws[positions].to(pixels.device))
        if recipe.noise is not None:
            seen = with_noise(seen, recipe.noise, grains)
        normalised = examples.normalise(seen)
        if erasing is not None:
            size, areas = normalised.shape[2:], (erasing.min_area, erasing.max_area)
            kept = kept_pixels(len(normalised), (size[0], size[1]), erasing.share, holes, areas)
            normalised = normalised * kept.to(normalised)[:, None]
        images = setting.mode.arrange(normalised)
        at = positions.to(pixels.device)
        parts = images, examples.labels[at], examples.targets[at]
        yield from zip(*(torch.split(part, group) for part in parts), strict=True)
