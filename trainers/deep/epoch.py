"""One pass over the labelled set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.base import Examples, Images, TrainingError
from trainers.deep.compute import Mode
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.networks import Network
from trainers.deep.seeding import generator
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
    lr: float
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
    for group in optimizer.param_groups:
        group["lr"] = setting.lr
    device = examples.labels.device
    loss_sum, hits = torch.zeros((), device=device), torch.zeros((), device=device)
    for images, labels in _minibatches(examples, recipe, setting):
        with setting.mode.autocast(device.type):
            logits, _ = network(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        # Kept on the device: reading them would wait for each step.
        loss_sum += loss.detach() * len(labels)
        hits += (logits.argmax(1) == labels).sum()
    mean_loss = loss_sum.item() / len(examples)
    if not math.isfinite(mean_loss):
        raise TrainingError(
            f"the loss is {mean_loss} in epoch {setting.number} at learning rate {setting.lr:g}; "
            "lower trainer.optimizer.lr"
        )
    return mean_loss, hits.item() / len(examples)


def _minibatches(
    examples: TrainingSet, recipe: Recipe, setting: EpochSetting
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views and labels, in this epoch's order; all chance is drawn before the first."""
    count = len(examples)
    order = torch.randperm(count, generator=generator(setting.seed, "order", setting.number))
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
