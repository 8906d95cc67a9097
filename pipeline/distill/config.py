"""How a student is distilled from a teacher."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from edgestill.bounds import Count, Positive
from edgestill.config import config
from edgestill.metric_config import MetricConfig
from edgestill.models.config import ModelConfig, NormalizeConfig
from edgestill.train.config import AugmentConfig, Keep, TrainConfig
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
class PeerConfig:
    """A model that learns beside the student, and is not kept; its keys are those of a model."""

    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    normalize: NormalizeConfig | None = None
    output: str | None = None
    classes: Literal["first", "last"] | None = None

    @property
    def as_model(self) -> ModelConfig:
        return ModelConfig(
            model=self.model,
            arguments=self.arguments,
            files=self.files,
            normalize=self.normalize,
            output=self.output,
            classes=self.classes,
        )


@config
class DistillConfig(TrainConfig):
    """A training schedule and the losses, which add up; without any, the task's usual pair.

    Attributes:
        cache: ask the teachers beforehand; by default they are asked at every step.
        teachers: how several teachers' predictions are weighed; by default all count alike.
        learn_from: whose answers stand where losses read a teacher's: the recipe's `teacher`, the
            moving `average` of the student itself, or the `peers`.
        peers: models that are trained beside the student, each learning from the others.
    """

    losses: tuple[LossConfig, ...] = ()
    cache: CacheConfig | None = None
    teachers: TeacherWeights | None = None
    learn_from: Literal["teacher", "average", "peers"] = "teacher"
    peers: tuple[PeerConfig, ...] = ()


@config
class StageConfig:
    """A part of a training, which starts from the weights of the part before.

    What it does not say is as in the `distill` around it.

    Attributes:
        only: an empty list for all modules.
    """

    epochs: Count | None = None
    learning_rate: Positive | None = None
    losses: tuple[LossConfig, ...] | None = None
    only: tuple[str, ...] | None = None


@config
class SchemeConfig(DistillConfig):
    """A distillation, or several, one after the other.

    Attributes:
        generations: how often the student is distilled, each time anew from the one before (Born
            Again Networks, Furlanello et al., ICML 2018).
        stages: the parts of each distillation; without any, it is one training.
    """

    generations: Count = 1
    stages: tuple[StageConfig, ...] = ()


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
        keep: the last epoch of all stages but the last: validation says nothing of a network of
            which a part is not trained yet.
    """

    student: ModelConfig
    teachers: dict[str, ModelConfig | None]
    distill: DistillConfig
    task: str
    metric: MetricConfig
    seed: int
    threads: int
    keep: Keep = "best"
