"""The recipe as types: what the rest of the pipeline reads, complete and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from edgestill.config import config
from edgestill.data.config import DataConfig
from edgestill.distill.config import SchemeConfig
from edgestill.export.config import ExportConfig
from edgestill.metric_config import MetricConfig
from edgestill.models.config import ModelConfig
from edgestill.quantize.config import QuantizeConfig
from edgestill.train.config import TrainConfig
from edgestill.train.voices import TEACHER
from edgestill.verify.config import (
    AgreementGate,
    LatencyGate,
    MeasureConfig,
    MemoryGate,
    ScoreGate,
    SizeGate,
    SpeedupGate,
    ThroughputGate,
)

Task = Literal["classification", "multilabel", "regression", "custom"]
GateConfig = (
    ScoreGate | AgreementGate | LatencyGate | ThroughputGate | SpeedupGate | SizeGate | MemoryGate
)

# The name of the gate on a user's own metric.
OWN_METRIC = "score"


@config
class TrainedModelConfig(ModelConfig):
    """A model and how it comes by its weights, in exactly one way: `train`, `weights`, `onnx`,
    `pretrained`, of a teacher `function` or, for a student, the recipe's `distill`.

    Attributes:
        train: train it here, on labels alone, from the weights that the callable returns.
        pretrained: the callable returns the model with its final weights.
    """

    train: TrainConfig | None = None
    pretrained: bool = False


@config
class AssistantConfig(ModelConfig):
    """A model between teacher and student, which learns from the one before it and teaches the one
    after it (Mirzadeh et al., "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020).

    Attributes:
        distill: how it learns; by default as the recipe's `distill` says.
    """

    distill: SchemeConfig | None = None


# Keys of a model that make no sense of one in this section, where they are refused with the reason.
REFUSED_KEYS: Mapping[str, tuple[str, ...]] = {
    "teacher": ("from", "depth", "width"),
    "teachers": ("from", "depth", "width"),
    "assistants": ("onnx", "function", "weights"),
    "student": ("function",),
}


@config
class TargetConfig:
    """One runtime that the model is compiled for.

    Attributes:
        target: a name in `edgestill.targets.TARGETS`.
        precisions: the candidates, in the recipe's order; for `auto` every float precision that the
            target knows, and int8 where the recipe quantizes.
        auto: whether the recipe left the candidates to us.
        verify: `here`, or `elsewhere` where this machine cannot run the target.
        options: the target's own options type.
    """

    target: str
    precisions: tuple[str, ...]
    auto: bool
    verify: Literal["here", "elsewhere"]
    options: Any


@config
class Recipe:
    """A recipe without static problems, every default filled in.

    Attributes:
        threads: threads that training and every runtime use; by default the cores this process has.
        metric: a name in `edgestill.metrics.METRICS`, or a user's own.
        teacher: whom the student learns from, and what gates, hops and speed-ups refer to.
        teachers: further ones, by name, whom it learns from too.
        gates: each gate's name and its budget; a name that is not in `GATE_CONFIGS` is a metric
            (`score` for a user's own) with a `ScoreGate`.
        path: the file it was read from.
        base: the folder that relative paths and `file.py:callable` start from.
    """

    name: str
    data: DataConfig
    path: Path
    base: Path
    threads: int
    metric: MetricConfig
    seed: int = 0
    task: Task = "classification"
    teacher: TrainedModelConfig | None = None
    teachers: Mapping[str, TrainedModelConfig] = field(default_factory=dict)
    assistants: tuple[AssistantConfig, ...] = ()
    student: TrainedModelConfig | None = None
    distill: SchemeConfig | None = None
    export: ExportConfig = ExportConfig()
    quantize: QuantizeConfig | None = None
    targets: tuple[TargetConfig, ...] = ()
    measure: MeasureConfig = MeasureConfig()
    gates: tuple[tuple[str, GateConfig], ...] = ()

    @property
    def all_teachers(self) -> dict[str, TrainedModelConfig]:
        """Every teacher by name, that of `teacher` first."""
        first = {TEACHER: self.teacher} if self.teacher is not None else {}
        return {**first, **self.teachers}
