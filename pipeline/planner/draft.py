"""A plan while it is made: the steps and hops so far, and what several parts of it ask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from edgestill.metric_config import FunctionMetric
from edgestill.models.config import ModelConfig
from edgestill.models.hugging_face import CODE, folder_of
from edgestill.plan import Hop, Plan, Ref, Step, TargetPlan
from edgestill.recipe import Recipe
from edgestill.train.losses import default_losses, modules_of
from edgestill.train.losses.config import LossConfig

STUDENT = "student"
# What a student is compared with, where the recipe has it.
TEACHERS = ("teacher torch", "teacher", "teacher onnx")


class PlanDraft:
    """Steps in an order in which they can run.

    Attributes:
        between: the steps that give a model between teacher and student, in their order.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.between: list[str] = []
        self._steps: dict[str, Step] = {}
        self._hops: list[tuple[str, Ref, tuple[str, ...], Ref | None]] = []

    def finished(self, targets: tuple[TargetPlan, ...]) -> Plan:
        """The plan, each hop with its parent where the recipe has one of those it may have."""
        known = {name for name, *_ in self._hops}
        hops = tuple(
            Hop(name, answers, next((parent for parent in parents if parent in known), None), model)
            for name, answers, parents, model in self._hops
        )
        return Plan(self.recipe, self._steps, targets, hops, tuple(self.between))

    def add(self, step: Step) -> str:
        """Add a step; its name."""
        self._steps[step.name] = step
        return step.name

    def taken(self, name: str, config: Any) -> bool:
        """Whether a step has this name and another configuration."""
        return name in self._steps and self._steps[name].config != config

    def hop(self, name: str, predictions: Ref, *parents: str, model: Ref | None = None) -> None:
        """Add a hop below the first of these parents that the recipe has."""
        self._hops.append((name, predictions, parents, model))

    @property
    def has_baseline(self) -> bool:
        """Whether the teacher is something that a target can run."""
        teacher = self.recipe.teacher
        return teacher is not None and teacher.function is None

    def loss_modules(self, *chosen: Iterable[LossConfig]) -> tuple[str, ...]:
        """What computes the losses of distillations, those of recipes without any included."""
        usual = default_losses(self.recipe.task, teacher=True)
        return modules_of((*usual, *chain.from_iterable(chosen)))

    def code(self, *models: ModelConfig | None) -> tuple[str, ...]:
        """The callables that build these models, or answer for them."""
        callables = (
            CODE if folder_of(model.model) else model.model or model.function
            for model in models
            if model
        )
        return tuple(dict.fromkeys(name for name in callables if name))

    def metric_code(self) -> tuple[str, ...]:
        """The user's own metric, which chooses the best epoch."""
        metric = self.recipe.metric
        return (metric.function,) if isinstance(metric, FunctionMetric) else ()

    def files(self, *models: ModelConfig | None) -> tuple[Path, ...]:
        """What these models' code reads, and their weights."""
        given = [model for model in models if model]
        names = [
            name
            for model in given
            for name in (*model.files, model.weights, folder_of(model.model))
            if name
        ]
        return tuple(self.recipe.base / name for name in dict.fromkeys(names))


def model_config(entry: ModelConfig) -> ModelConfig:
    """The part of a recipe's entry that says what the model is, not how it is trained."""
    return ModelConfig(**{item.name: getattr(entry, item.name) for item in fields(ModelConfig)})


def without_weights(model: ModelConfig) -> ModelConfig:
    """The model as its checkpoint's readers need it: the weights come from the checkpoint."""
    values = {item.name: getattr(model, item.name) for item in fields(ModelConfig)}
    return ModelConfig(**{**values, "weights": None})
