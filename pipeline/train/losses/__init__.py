"""Losses as small objects that compose; the table that makes them from a recipe's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgestill.train.config import CeLoss, KdLoss, LossConfig, MseLoss

if TYPE_CHECKING:
    from edgestill.train.losses.base import Loss

# Settings type -> "module:Class"; a class takes its settings and the task.
LOSSES: Mapping[type[LossConfig], str] = {
    CeLoss: "edgestill.train.losses.logits:CrossEntropy",
    KdLoss: "edgestill.train.losses.logits:Distillation",
    MseLoss: "edgestill.train.losses.logits:SquaredError",
}


def make_losses(configs: Sequence[LossConfig], task: str) -> tuple[Loss, ...]:
    """The losses that `configs` describe, for a task such as `classification`."""
    from importlib import import_module

    losses = []
    for config in configs:
        module, _, name = LOSSES[type(config)].partition(":")
        losses.append(getattr(import_module(module), name)(config, task))
    return tuple(losses)


def default_losses(task: str, *, teacher: bool) -> tuple[LossConfig, ...]:
    """What trains a model when the recipe does not say."""
    if task in ("classification", "multilabel"):
        return (CeLoss(weight=0.1), KdLoss(weight=0.9)) if teacher else (CeLoss(),)
    labels = MseLoss(weight=0.5 if teacher else 1.0, to="labels")
    return (labels, MseLoss(weight=0.5, to="teacher")) if teacher else (labels,)
