"""`load_recipe`: a YAML file becomes a frozen `Recipe`, or one error that lists every problem."""

from __future__ import annotations

from edgestill.recipe.schema import (
    OWN_METRIC,
    FunctionMetric,
    GateConfig,
    Recipe,
    TargetConfig,
    Task,
    TrainedModelConfig,
)

__all__ = [
    "OWN_METRIC",
    "FunctionMetric",
    "GateConfig",
    "Recipe",
    "TargetConfig",
    "Task",
    "TrainedModelConfig",
]
