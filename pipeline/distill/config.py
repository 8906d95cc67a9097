"""How a student is distilled from a teacher."""

from __future__ import annotations

from edgestill.config import config
from edgestill.metric_config import MetricConfig
from edgestill.models.config import ModelConfig
from edgestill.train.config import LossConfig, TrainConfig


@config
class DistillConfig(TrainConfig):
    """A training schedule and the losses, which add up; without any, the task's usual pair."""

    losses: tuple[LossConfig, ...] = ()


@config
class DistillStep:
    """What determines a distillation, beside data, code and the teacher's weights."""

    student: ModelConfig
    teacher: ModelConfig
    distill: DistillConfig
    task: str
    metric: MetricConfig
    seed: int
    threads: int
