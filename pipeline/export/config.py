"""How a model becomes ONNX."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from edgestill.config import config
from edgestill.models.config import ModelConfig
from edgestill.train.config import AugmentConfig
from edgestill.train.losses.config import LossConfig
from edgestill.train.voices import TeacherWeights


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
        teachers: the roles that it learns from, by the names that losses and weights give them.
        losses: without any, the usual ones of a distillation.
        only: the paths of the learner's modules that learn; without any, all of them.
        augment: how the views are made that all of them see.
        top_k: how many classes of the teachers' predictions are to be kept; None for all.
        weights: how much each teacher's prediction counts (`distill.teachers`).
        learn_from: `teacher`, `average` or `peers`.
        peers: who learns beside it.
    """

    name: str
    learner: str
    teachers: dict[str, str] = field(default_factory=dict)
    losses: tuple[LossConfig, ...] = ()
    only: tuple[str, ...] = ()
    augment: AugmentConfig | None = None
    top_k: int | None = None
    weights: TeacherWeights | None = None
    learn_from: str = "teacher"
    peers: tuple[ModelConfig, ...] = ()


@config
class CheckStep:
    """What has to fit together before any training.

    Attributes:
        models: by role, those that are no ONNX files.
        lessons: of all trainings, in their order.
    """

    models: dict[str, ModelConfig]
    lessons: tuple[Lesson, ...]
    export: ExportConfig
    task: str
    seed: int
