"""How far outputs are softened before they are compared."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.train.schedule import Schedule, value_at

# Of the adaptive temperature: its range, and the share of the training over which it comes in.
_LOWEST, _SPAN, _RAMP = 1.0, 20.0, 0.05


def standardized(logits: Tensor) -> Tensor:
    """Each row `[n, c]` with mean 0 and deviation 1.

    Raises:
        ModelError: fewer than three classes, of which nothing would be left but their order.
    """
    if logits.shape[1] < 3:
        raise ModelError(
            "two classes, standardized, are -1 and 1 whatever the model answers",
            where="standardize",
            fix="Leave standardize out; it needs three classes or more",
        )
    centred = logits - logits.mean(dim=1, keepdim=True)
    # The small number lies under the root, where equal logits would have no gradient.
    return centred / (centred.pow(2).mean(dim=1, keepdim=True) + 1e-12).sqrt()


def make_temperature(setting: float | Schedule | str) -> nn.Module:
    """A module that gives the temperature for the share of the training that is over."""
    return AdaptiveTemperature() if isinstance(setting, str) else SetTemperature(setting)


class SetTemperature(nn.Module):
    """A constant, or a schedule."""

    def __init__(self, setting: float | Schedule) -> None:
        super().__init__()
        self.setting = setting

    def forward(self, progress: float) -> float:
        return value_at(self.setting, progress)


class AdaptiveTemperature(nn.Module):
    """One learnt temperature between 1 and 21 that moves so as to make the loss larger.

    Its gradient is reversed, by a factor that grows from 0 to 1 early in the training, so that the
    student's task becomes harder as it learns (Li et al., "Curriculum Temperature for Knowledge
    Distillation", 2023, equations 5 to 9, global version; it starts at 11, theirs at 15.6).
    """

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(()))

    def forward(self, progress: float) -> Tensor:
        ramp = (1 - math.cos(math.pi * min(1.0, progress / _RAMP))) / 2
        # Equal to `raw` forwards, and -ramp times its gradient backwards.
        reversed_raw = (1 + ramp) * self.raw.detach() - ramp * self.raw
        return _LOWEST + _SPAN * torch.sigmoid(reversed_raw)
