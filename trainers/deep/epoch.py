"""One pass over the labelled set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.base import Examples, Images, TrainingError
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.networks import Network
from trainers.deep.optimizing import climbed
from trainers.deep.seeding import generator
from trainers.deep.statistics import untouched_statistics
from trainers.deep.views import views_of
from trainers.recipes import Recipe

VIEWS_AT_A_TIME = 512
"""Views are made for so many images at once: a minibatch of 20 alone would be all overhead."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The labelled images, ready to be drawn from."""

    pixels: Pixels
    labels: Tensor  # (M,) int64, on the device
    normalise: Normaliser

    @classmethod
    def open(cls, images: Images, examples: Examples, device: str) -> TrainingSet:
        pixels = Pixels(images, examples.rows, device, resident=True)
        labels = torch.from_numpy(examples.labels.astype(np.int64)).to(device)
        return cls(pixels, labels, Normaliser(images, device))

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


def train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    examples: TrainingSet,
    recipe: Recipe,
    setting: EpochSetting,
) -> tuple[float, float]:
    """Takes one step a minibatch; returns mean loss and running accuracy over images.

    Raises:
        TrainingError: The loss is not finite.
    """
    network.train()
    network.head.dropout.reseed(setting.seed, "dropout", setting.number)
    device = examples.labels.device
    loss_sum, hits = torch.zeros((), device=device), torch.zeros((), device=device)
    made = _minibatches(examples, recipe, setting)
    for rate, (images, labels) in zip(setting.rates, made, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, logits = _backward(network, optimizer, recipe, setting.mode, images, labels)
        if recipe.sam is not None:
            with climbed(recipe.sam, network.parameters()), untouched_statistics(network):
                _backward(network, optimizer, recipe, setting.mode, images, labels)
        optimizer.step()
        # Kept on the device: reading them would wait for each step.
        loss_sum += loss.detach() * len(labels)
        hits += (logits.argmax(1) == labels).sum()
    mean_loss = loss_sum.item() / len(examples)
    if not math.isfinite(mean_loss):
        raise TrainingError(
            f"the loss is {mean_loss} in epoch {setting.number} at learning rate "
            f"{max(setting.rates):g}; "
            "lower trainer.optimizer.lr"
        )
    return mean_loss, hits.item() / len(examples)


def _backward(
    network: Network,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    mode: Mode,
    images: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """The loss and the logits of a minibatch; leaves the gradients of this loss alone."""
    with mode.autocast(labels.device.type):
        logits, _ = network(images)
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    return loss, logits


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
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views and labels, in this epoch's order; all chance is drawn before the first."""
    count = len(examples)
    order = _order(examples, recipe, setting)
    views = views_of(recipe.augmentation, examples.pixels.shape[:2])
    rng = generator(setting.seed, "views", setting.number)
    draws = views.draw(count, rng)
    sizes = minibatch_sizes(count, recipe.batch_size)
    together = max(1, VIEWS_AT_A_TIME // recipe.batch_size)
    start = 0
    for first in range(0, len(sizes), together):
        group = sizes[first : first + together]
        positions = order[start : start + sum(group)]
        start += sum(group)
        pixels = examples.pixels.take(positions)
        seen = views.apply(pixels, draws[positions].to(pixels.device))
        images = setting.mode.arrange(examples.normalise(seen))
        labels = examples.labels[positions.to(pixels.device)]
        yield from zip(torch.split(images, group), torch.split(labels, group), strict=True)
