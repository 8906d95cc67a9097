"""How a student is distilled from a teacher."""

from __future__ import annotations

from typing import Literal

from edgestill.config import Count, config
from edgestill.metric_config import MetricConfig
from edgestill.models.config import ModelConfig
from edgestill.train.config import AugmentConfig, TrainConfig
from edgestill.train.losses.config import LossConfig, Tap
from edgestill.train.voices import TeacherWeights


@config
class CacheConfig:
    """The teacher is asked once and its answers are kept, for every student, seed and run.

    Attributes:
        views: how many views of each sample are kept; epochs take turns with them.
        dtype: of what is kept.
        top_k: keep so many of each prediction's largest logits, and of the rest their sum.
    """

    views: Count = 1
    dtype: Literal["float16", "float32"] = "float16"
    top_k: Count | None = None


@config
class DistillConfig(TrainConfig):
    """A training schedule and the losses, which add up; without any, the task's usual pair.

    Attributes:
        cache: ask the teachers beforehand; by default they are asked at every step.
        teachers: how several teachers' predictions are weighed; by default all count alike.
    """

    losses: tuple[LossConfig, ...] = ()
    cache: CacheConfig | None = None
    teachers: TeacherWeights | None = None


@config
class RecordStep:
    """What determines a recording, beside data, code and the teacher's weights.

    Attributes:
        teacher: None for one that is given as ONNX, whose file says everything.
        layers: what is recorded of them, under the name of no further teacher.
    """

    teacher: ModelConfig | None
    augment: AugmentConfig | None
    cache: CacheConfig
    prediction: bool
    layers: tuple[Tap, ...]
    task: str
    threads: int


@config
class DistillStep:
    """What determines a distillation, beside data, code and the teachers' weights.

    Attributes:
        teachers: by name, those that the student learns from; None for one that is given as ONNX,
            whose file says everything.
    """

    student: ModelConfig
    teachers: dict[str, ModelConfig | None]
    distill: DistillConfig
    task: str
    metric: MetricConfig
    seed: int
    threads: int
