"""Losses as small objects that compose; the table that makes them from a recipe's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgestill.train.losses import config as settings
from edgestill.train.losses.config import CeLoss, KdLoss, LossConfig, MseLoss

if TYPE_CHECKING:
    from edgestill.train.losses.base import Loss

# Settings type -> "module:Class"; a class takes its settings and the task.
LOSSES: Mapping[type[LossConfig], str] = {
    settings.CeLoss: "edgestill.train.losses.logits:CrossEntropy",
    settings.KdLoss: "edgestill.train.losses.logits:Distillation",
    settings.DkdLoss: "edgestill.train.losses.logits:DecoupledDistillation",
    settings.MseLoss: "edgestill.train.losses.logits:SquaredError",
    settings.DistLoss: "edgestill.train.losses.relations:Correlation",
    settings.SimilarityLoss: "edgestill.train.losses.relations:Similarity",
    settings.RelationLoss: "edgestill.train.losses.relations:Relation",
    settings.HintLoss: "edgestill.train.losses.features:Hint",
    settings.HiddenLoss: "edgestill.train.losses.features:HiddenStates",
    settings.AttentionLoss: "edgestill.train.losses.features:Attention",
    settings.MinilmLoss: "edgestill.train.losses.features:AttentionRelations",
    settings.AdversarialLoss: "edgestill.train.losses.adversarial:Adversarial",
    settings.HeadsLoss: "edgestill.train.losses.heads:Heads",
}


def make_losses(configs: Sequence[LossConfig], task: str) -> tuple[Loss, ...]:
    """The losses that `configs` describe, for a task such as `classification`, each named apart."""
    from importlib import import_module

    losses: list[Loss] = []
    for config in configs:
        module, _, name = LOSSES[type(config)].partition(":")
        loss = getattr(import_module(module), name)(config, task)
        same = sum(other.name.partition(" #")[0] == loss.name for other in losses)
        loss.name += f" #{same + 1}" if same else ""
        losses.append(loss)
    return tuple(losses)


def modules_of(configs: Sequence[LossConfig]) -> tuple[str, ...]:
    """Our modules that compute these losses, which no import names."""
    return tuple(dict.fromkeys(LOSSES[type(config)].partition(":")[0] for config in configs))


def default_losses(task: str, *, teacher: bool, taught: bool = True) -> tuple[LossConfig, ...]:
    """What trains a model when the recipe does not say.

    Args:
        teacher: whether another answers the samples.
        taught: whether that one knows better, as a teacher does; a student's average and its peers
            know what the student does, and must not hold it back (the sum is that of Zhang et al.,
            "Deep Mutual Learning", 2018).
    """
    if task in ("classification", "multilabel"):
        if teacher and not taught:
            return CeLoss(), KdLoss(temperature=1.0)
        return (CeLoss(weight=0.1), KdLoss(weight=0.9)) if teacher else (CeLoss(),)
    labels = MseLoss(weight=0.5 if teacher else 1.0, to="labels")
    return (labels, MseLoss(weight=0.5, to="teacher")) if teacher else (labels,)
