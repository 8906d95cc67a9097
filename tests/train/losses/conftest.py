"""What the tests of losses share: random numbers, a loss's value and a check of its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgestill.train.losses import make_losses
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.losses.config import LossConfig


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def evaluate() -> Callable[..., float]:
    """The value of a loss in float64: `evaluate(config, student, teacher, labels, task=...)`.

    `student` and `teacher` are the prediction, and what every layer gives that the loss reads.
    """

    def value(config: LossConfig, student: Any, *rest: Any, **options: Any) -> float:
        loss, inputs = _prepared(config, student, *rest, **options)
        value: float = loss(inputs(torch.from_numpy(np.ascontiguousarray(student)))).item()
        return value

    return value


@pytest.fixture
def gradients_agree() -> Callable[..., bool]:
    """Whether a loss's gradient is that of finite differences; called as `evaluate` is."""

    def check(config: LossConfig, student: Any, *rest: Any, **options: Any) -> bool:
        loss, inputs = _prepared(config, student, *rest, **options)
        values = torch.from_numpy(np.ascontiguousarray(student)).requires_grad_()
        return torch.autograd.gradcheck(lambda student: loss(inputs(student)), (values,))

    return check


def _prepared(
    config: LossConfig,
    student: Any,
    teacher: Any = None,
    labels: Any = None,
    *,
    task: str = "classification",
    attended: Any = None,
    progress: float = 0.0,
) -> tuple[Loss, Callable[[Tensor], LossInputs]]:
    torch.manual_seed(0)  # of adapters
    (loss,) = make_losses([config], task)

    def inputs(values: Tensor) -> LossInputs:
        own = Outputs(values, dict.fromkeys(loss.reads.student, values))
        other = None
        if teacher is not None:
            answer = torch.from_numpy(np.ascontiguousarray(teacher))
            other = Outputs(answer, dict.fromkeys(loss.reads.teacher, answer))
        known = Labels(torch.from_numpy(labels)) if isinstance(labels, np.ndarray) else labels
        tokens = None if attended is None else torch.from_numpy(attended)
        return LossInputs(own, other, known, progress, tokens)

    loss.adapt(inputs(torch.from_numpy(np.ascontiguousarray(student))))
    return loss.double(), inputs
