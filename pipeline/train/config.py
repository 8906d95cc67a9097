"""How a model is trained, and the losses that train it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgestill.config import config
from edgestill.metric_config import MetricConfig
from edgestill.models.config import ModelConfig

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


@config
class TrainConfig:
    """A training schedule.

    Attributes:
        learning_rate: the highest rate; it rises over the warm-up and falls by a cosine to zero.
        warmup: the share of all steps over which the rate rises.
        clip_norm: the largest norm of all gradients together.
    """

    epochs: Annotated[int, Field(gt=0)] = 20
    batch_size: Annotated[int, Field(gt=0)] = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 3e-3
    weight_decay: NonNegative = 1e-2
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Positive | None = None


@config
class CeLoss:
    """Cross-entropy with the labels; binary cross-entropy for multi-label tasks."""

    weight: NonNegative = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


@config
class KdLoss:
    """Divergence of the student's softened outputs from the teacher's."""

    weight: NonNegative = 1.0
    temperature: Positive = 4.0


@config
class MseLoss:
    """Mean squared error to the labels, or to the teacher's outputs."""

    weight: NonNegative = 1.0
    to: Literal["labels", "teacher"] = "teacher"


LossConfig = CeLoss | KdLoss | MseLoss

# The name that a recipe uses, and the type that holds its settings.
LOSS_CONFIGS: dict[str, type[LossConfig]] = {"ce": CeLoss, "kd": KdLoss, "mse": MseLoss}


@config
class TrainStep:
    """What determines a training, beside data and code."""

    model: ModelConfig
    train: TrainConfig
    task: str
    metric: MetricConfig
    seed: int
    threads: int


@config
class LoadStep:
    """A model that came trained.

    Attributes:
        seed: for a callable that fills weights at random before they are loaded.
    """

    model: ModelConfig
    task: str
    seed: int


@config
class AskStep:
    """Which model is asked."""

    model: ModelConfig
    task: str
    threads: int
