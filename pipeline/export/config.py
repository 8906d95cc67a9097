"""How a model becomes ONNX."""

from __future__ import annotations

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
class CheckStep:
    """What has to fit together before any training.

    Attributes:
        teachers: by name, those that are PyTorch models or functions.
        trained: the roles that learn here, from labels or from the teachers.
        distilled: whether the student learns from the teachers, if there are any.
        augment: how the views of each role's training are made.
        asked: how the views are made that the teachers are asked about.
        top_k: how many classes of the teachers' predictions are to be kept; None for all.
        weights: how much each teacher's prediction counts (`distill.teachers`).
    """

    teachers: dict[str, ModelConfig]
    student: ModelConfig | None
    losses: tuple[LossConfig, ...]
    export: ExportConfig
    task: str
    seed: int
    trained: tuple[str, ...]
    distilled: bool
    augment: tuple[AugmentConfig, ...] = ()
    asked: AugmentConfig | None = None
    top_k: int | None = None
    weights: TeacherWeights | None = None
