"""How a student is distilled from a teacher."""

from __future__ import annotations

from edgestill.config import config
from edgestill.train.config import LossConfig, TrainConfig


@config
class DistillConfig(TrainConfig):
    """A training schedule and the losses, which add up; without any, the task's usual pair."""

    losses: tuple[LossConfig, ...] = ()
