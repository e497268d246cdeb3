"""Learning rates: pure functions of the recipe, the time, and what validation has found so far.

Nothing is carried along, so a resumed fit goes on at the rate of an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

from trainers.optimizers import (
    AnySchedule,
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Plateau,
    Step,
    WarmRestarts,
)
from trainers.recipes import Recipe

_BETTER_BY = 1e-4  # as a share of the best value so far, as in torch's ReduceLROnPlateau


def learning_rate(recipe: Recipe, time: float, total: int, looks: Sequence[float] = ()) -> float:
    """The rate of the step that begins after `time` epochs.

    Args:
        recipe: With the highest rate, the schedule and the warm-up.
        time: In [0, total); schedules that go by epochs read its whole part.
        total: Epochs in all.
        looks: Balanced accuracies on the validation set in earlier epochs, in order.
    """
    rate = _scheduled(recipe.schedule, recipe.optimizer.lr, time, total, looks)
    if time < recipe.warmup_epochs:
        rate *= 0.01 + 0.99 * time / recipe.warmup_epochs
    return rate


def _scheduled(
    schedule: AnySchedule, lr: float, time: float, total: int, looks: Sequence[float]
) -> float:
    epoch = math.floor(time)
    match schedule:
        case Constant():
            return lr
        case Cosine():
            return _cosine(lr, schedule.minimum, epoch / total)
        case WarmRestarts():
            return _cosine(lr, schedule.minimum, _share_of_period(schedule, epoch))
        case Step():
            return lr * schedule.factor ** (epoch // schedule.every)
        case Exponential():
            return lr * schedule.factor**epoch
        case Plateau():
            return max(schedule.minimum, lr * schedule.factor ** reductions(schedule, looks))
        case OneCycle():
            return _one_cycle(schedule, lr, time / total)
    assert_never(schedule)


def _cosine(high: float, low: float, share: float) -> float:
    """From `high` at 0 to `low` at 1."""
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def _share_of_period(schedule: WarmRestarts, epoch: int) -> float:
    period = schedule.period
    while epoch >= period:
        epoch, period = epoch - period, period * schedule.factor
    return epoch / period


def reductions(schedule: Plateau, looks: Sequence[float]) -> int:
    """How often a rate that follows these values has been lowered."""
    best, bad, count = -math.inf, 0, 0
    for value in looks:
        if value > best + abs(best) * _BETTER_BY if math.isfinite(best) else True:
            best, bad = value, 0
        else:
            bad += 1
        if bad > schedule.patience:
            count, bad = count + 1, 0
    return count


def _one_cycle(schedule: OneCycle, highest: float, share: float) -> float:
    first = highest / schedule.start_divisor
    if share < schedule.rise:
        return _cosine(first, highest, share / schedule.rise)
    down = (share - schedule.rise) / (1 - schedule.rise)
    return _cosine(highest, first / schedule.end_divisor, down)
