"""Learning rates against torch's own schedulers and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from trainers.deep.schedules import learning_rate, reductions
from trainers.optimizers import Plateau
from trainers.recipes import Recipe

pytestmark = pytest.mark.torch


def recipe(schedule: object, **fields: Any) -> Recipe:
    return Recipe.model_validate({"optimizer": {"lr": 0.2}, "schedule": schedule, **fields})


def rates(schedule: object, total: int, **fields: Any) -> list[float]:
    return [learning_rate(recipe(schedule, **fields), epoch, total) for epoch in range(total)]


def of_torch(make: Any, total: int) -> list[float]:
    """The rate of each epoch of a scheduler that torch steps after it."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    scheduler, found = make(optimizer), []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=14)),
        (
            {"name": "cosine", "minimum": 0.05},
            lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=14, eta_min=0.05),
        ),
        ("constant", lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (
            {"name": "warm_restarts", "period": 2, "factor": 2, "minimum": 0.01},
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, T_mult=2, eta_min=0.01),
        ),
        ({"name": "step", "every": 4}, lambda o: lr_scheduler.StepLR(o, 4, gamma=0.1)),
        ({"name": "exponential", "factor": 0.9}, lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    ],
)
def test_rates_by_epoch_are_those_of_torch(schedule: object, make: Any) -> None:
    assert rates(schedule, 14) == pytest.approx(of_torch(make, 14))


def test_the_cosine_goes_from_the_rate_set_to_nothing() -> None:
    # Half a cosine: 1, (1 + √½)/2, ½, (1 - √½)/2 of the rate, and 0 when all is over.
    found = [learning_rate(recipe("cosine"), epoch, 4) for epoch in range(5)]
    assert found == pytest.approx([0.2, 0.1707107, 0.1, 0.0292893, 0.0])


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateaus_are_those_of_torch(patience: int) -> None:
    rng = np.random.default_rng(patience)
    looks = np.maximum.accumulate(rng.random(40)) * rng.choice([1.0, 0.99], 40)
    schedule = Plateau(factor=0.5, patience=patience)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    twin = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=patience)
    for seen in range(1, 21):
        twin.step(float(looks[seen - 1]))
        ours = learning_rate(recipe(schedule), seen, 40, looks[:seen].tolist())
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
    assert reductions(schedule, looks.tolist()) > 0
    assert learning_rate(recipe(schedule), 0, 40) == 0.2


def test_a_plateau_stops_at_its_minimum() -> None:
    schedule = Plateau(factor=0.1, patience=0, minimum=0.05)
    assert learning_rate(recipe(schedule), 9, 10, [0.5] * 9) == 0.05


def test_one_cycle_rises_and_falls_step_by_step() -> None:
    one = {"name": "one_cycle", "rise": 0.25, "start_divisor": 20, "end_divisor": 100}
    r = recipe(one)
    assert learning_rate(r, 0, 8) == pytest.approx(0.01)
    assert learning_rate(r, 1, 8) == pytest.approx((0.01 + 0.2) / 2)  # half way up
    assert learning_rate(r, 2, 8) == pytest.approx(0.2)
    assert learning_rate(r, 5, 8) == pytest.approx((0.2 + 0.0001) / 2)  # half way down
    assert learning_rate(r, 8, 8) == pytest.approx(0.0001)
    steps = [learning_rate(r, step / 10, 8) for step in range(21)]
    assert steps == sorted(steps)


def test_warm_up_rises_within_epochs_and_ends_on_the_schedule() -> None:
    warm = recipe("cosine", warmup_epochs=2)
    plain = recipe("cosine")
    assert learning_rate(warm, 0, 10) == pytest.approx(0.002)
    assert learning_rate(warm, 0.5, 10) == pytest.approx(0.2 * (0.01 + 0.99 / 4))
    for time in (2, 2.5, 9):
        assert learning_rate(warm, time, 10) == learning_rate(plain, time, 10)


def test_nothing_but_one_cycle_and_warm_up_moves_within_an_epoch() -> None:
    for schedule in ("cosine", "constant", "warm_restarts", "step", "exponential"):
        assert len({learning_rate(recipe(schedule), 3 + s / 7, 10) for s in range(7)}) == 1
    assert math.isclose(learning_rate(recipe("exponential"), 3, 10), 0.2 * 0.98**3)
