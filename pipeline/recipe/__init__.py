"""`load_recipe`: a YAML file becomes a frozen `Recipe`, or one error that lists every problem."""

from __future__ import annotations

from edgestill.metric_config import FunctionMetric
from edgestill.recipe.load import load_recipe, presets, recipe_text
from edgestill.recipe.schema import (
    OWN_METRIC,
    AssistantConfig,
    GateConfig,
    Recipe,
    TargetConfig,
    Task,
    TrainedModelConfig,
)

__all__ = [
    "OWN_METRIC",
    "AssistantConfig",
    "FunctionMetric",
    "GateConfig",
    "Recipe",
    "TargetConfig",
    "Task",
    "TrainedModelConfig",
    "load_recipe",
    "presets",
    "recipe_text",
]
