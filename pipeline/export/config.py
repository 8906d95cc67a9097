"""How a model becomes ONNX."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgestill.config import config
from edgestill.models.config import ModelConfig
from edgestill.train.config import AugmentConfig
from edgestill.train.losses.config import LossConfig


@config
class ExportConfig:
    """Attributes:
    batch: `dynamic`, or the one batch size that the model will take.
    opset: the ONNX operator set.
    tolerance: the largest difference between ONNX and torch on real samples, relative to the
        largest output.
    """

    batch: Literal["dynamic"] | Annotated[int, Field(gt=0)] = "dynamic"
    opset: Annotated[int, Field(ge=18, le=23)] = 20
    tolerance: Annotated[float, Field(gt=0)] = 1e-3


@config
class ExportStep:
    """What determines an export, beside the weights and the model's code."""

    model: ModelConfig
    export: ExportConfig
    task: str


@config
class AdoptStep:
    """An ONNX file from elsewhere, with the input it is fed and the output that metrics read."""

    model: ModelConfig


@config
class Lesson:
    """What a training has a model learn, and from whom.

    Attributes:
        name: of the training, for messages.
        learner: the role whose model learns.
        teacher: the role that it learns from; None where no other model teaches.
        losses: without any, the usual ones of a distillation.
        only: the paths of the learner's modules that learn; without any, all of them.
        top_k: how many classes of the teacher's predictions are to be kept; None for all.
        learn_from: `teacher`, `average` or `peers`.
        peers: who learns beside it.
    """

    name: str
    learner: str
    teacher: str | None
    losses: tuple[LossConfig, ...] = ()
    only: tuple[str, ...] = ()
    top_k: int | None = None
    learn_from: str = "teacher"
    peers: tuple[ModelConfig, ...] = ()


@config
class CheckStep:
    """What has to fit together before any training.

    Attributes:
        assistants: the models between teacher and student; their roles are `assistant 1` and so on.
        lessons: of all trainings, in their order.
        augment: how the views of each training are made.
    """

    teacher: ModelConfig | None
    student: ModelConfig | None
    lessons: tuple[Lesson, ...]
    export: ExportConfig
    task: str
    seed: int
    assistants: tuple[ModelConfig, ...] = ()
    augment: tuple[AugmentConfig, ...] = ()
