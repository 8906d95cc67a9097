"""Temperatures: constants, schedules, and one that is learnt against the student."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Loss, LossInputs, Outputs
from edgestill.train.losses.config import DkdLoss, KdLoss
from edgestill.train.losses.temperature import AdaptiveTemperature
from edgestill.train.schedule import Schedule


def test_a_schedule_of_temperature_is_followed(
    rng: np.random.Generator, evaluate: Callable[..., float]
) -> None:
    student, teacher = rng.normal(size=(2, 6, 5))
    for progress, temperature in ((0.0, 8.0), (0.5, 5.0), (1.0, 2.0)):
        found = evaluate(
            KdLoss(temperature=Schedule(8.0, 2.0)), student, teacher, progress=progress
        )
        assert found == evaluate(KdLoss(temperature=temperature), student, teacher)


def adaptive() -> tuple[Loss, torch.nn.Parameter]:
    (loss,) = make_losses([KdLoss(temperature="adaptive")], "classification")
    (raw,) = loss.parameters()
    return loss, raw


def slope(loss: Loss, raw: torch.nn.Parameter, progress: float, step: float = 1e-3) -> float:
    """How the loss changes with the raw temperature, by finite differences."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64) * 9
    values = []
    start = raw.item()
    for moved in (start + step, start - step):
        with torch.no_grad():
            raw.fill_(moved)
        values.append(loss(LossInputs(Outputs(student), Outputs(teacher), None, progress)).item())
    with torch.no_grad():
        raw.fill_(start)
    raw.grad = None
    loss(LossInputs(Outputs(student), Outputs(teacher), None, progress)).backward()
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("progress", [0.0, 0.01, 0.025, 0.05, 0.6])
def test_the_gradient_of_an_adaptive_temperature_is_reversed_and_comes_in_by_a_ramp(
    progress: float,
) -> None:
    loss, raw = adaptive()
    loss.double()
    true = slope(loss, raw, progress)
    # Li et al. 2023: half a cosine over the first epochs, here a twentieth of the training.
    ramp = (1 - math.cos(math.pi * min(1.0, progress / 0.05))) / 2
    assert raw.grad is not None
    assert float(raw.grad) == pytest.approx(-ramp * true, rel=1e-4, abs=1e-12)
    assert abs(true) > 0.1


def test_an_adaptive_temperature_moves_so_that_the_loss_grows() -> None:
    loss, raw = adaptive()
    student, teacher = torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(0)) * 5
    inputs = LossInputs(Outputs(student), Outputs(teacher), None, 1.0)
    optimizer = torch.optim.SGD([raw], lr=0.1)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(inputs)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.1


def test_an_adaptive_temperature_lies_between_1_and_21() -> None:
    temperature = AdaptiveTemperature()
    assert temperature(0.5).item() == 11
    for raw, end in ((-50.0, 1.0), (50.0, 21.0)):
        with torch.no_grad():
            temperature.raw.fill_(raw)
        assert temperature(0.5).item() == pytest.approx(end)


def test_the_student_is_taught_at_the_temperature_as_it_is(
    rng: np.random.Generator, evaluate: Callable[..., float]
) -> None:
    student, teacher = rng.normal(size=(2, 6, 5))
    labels = rng.integers(0, 5, 6)
    for adapting, fixed in (
        (KdLoss(temperature="adaptive"), KdLoss(temperature=11.0)),
        (DkdLoss(temperature="adaptive"), DkdLoss(temperature=11.0)),
    ):
        found = evaluate(adapting, student, teacher, labels, progress=0.3)
        assert found == pytest.approx(evaluate(fixed, student, teacher, labels), rel=1e-9)
