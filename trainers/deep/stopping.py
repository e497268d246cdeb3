"""When a fit stops or starts anew: pure functions of its epochs so far.

Nothing is carried along but the epochs themselves, so a resumed fit decides as an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trainers.recipes import Recipe, StopRules


@dataclass(frozen=True)
class Epoch:
    """One pass over the labelled set; what a line of `metrics.jsonl` says."""

    epoch: int  # from 1
    total_epochs: int
    loss: float  # mean over images, in training mode
    accuracy: float  # running, in training mode, of augmented images
    lr: float  # of its last step
    seconds: float
    steps: int  # of the optimiser, since the fit began
    restarted: bool = False  # found to have diverged: weights are fresh after it
    validation: float | None = None  # balanced accuracy, where it was looked at
    terms: Mapping[str, float] = field(default_factory=dict)  # of the loss, where it has several


def total_epochs(recipe: Recipe, steps_per_epoch: int) -> int:
    """The cap of epochs, raised if need be so that `min_steps` can be taken."""
    return max(recipe.epochs, math.ceil(recipe.stopping.min_steps / steps_per_epoch))


def stop_reason(history: Sequence[Epoch], rules: StopRules) -> str | None:
    """Why the fit is over after these epochs, or None if it goes on."""
    last = history[-1]
    if last.epoch >= last.total_epochs:
        return f"all {last.total_epochs} epochs"
    if last.steps < rules.min_steps or last.restarted:
        return None
    if rules.max_train_accuracy is not None and last.accuracy >= rules.max_train_accuracy:
        return f"training accuracy {last.accuracy:.4f} reached {rules.max_train_accuracy}"
    if rules.saturation_window is not None and is_saturated(
        [epoch.accuracy for epoch in since_restart(history)],
        window=rules.saturation_window,
        gain=rules.saturation_gain,
    ):
        return (
            f"no gain of {rules.saturation_gain} in training accuracy "
            f"within {rules.saturation_window} epochs"
        )
    return None


def has_converged(history: Sequence[Epoch], rules: StopRules) -> bool | None:
    """Whether a rule, and not the cap, is content with these epochs; None without such a rule."""
    if rules.max_train_accuracy is None and rules.saturation_window is None:
        return None
    last = replace(history[-1], total_epochs=history[-1].epoch + 1)
    return stop_reason([*history[:-1], last], rules) is not None


def is_saturated(accuracies: Sequence[float], *, window: int, gain: float) -> bool:
    """Whether among the last `window` values no later one exceeds an earlier one by `gain`."""
    recent = accuracies[-window:]
    if len(recent) < window:
        return False
    lowest = recent[0]
    for value in recent[1:]:
        if value - lowest >= gain:
            return False
        lowest = min(lowest, value)
    return True


def has_diverged(history: Sequence[Epoch], rules: StopRules) -> bool:
    """Whether the weights are to be begun anew after these epochs."""
    last = history[-1]
    if rules.divergence_every is None or last.epoch % rules.divergence_every != 0:
        return False
    return last.epoch < last.total_epochs and last.accuracy < rules.divergence_accuracy


def since_restart(history: Sequence[Epoch]) -> Sequence[Epoch]:
    """The epochs after the last fresh start."""
    starts = [n for n, epoch in enumerate(history, start=1) if epoch.restarted]
    return history[starts[-1] :] if starts else history
