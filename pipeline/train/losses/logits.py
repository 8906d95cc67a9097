"""Losses on the models' predictions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgestill.metrics import IGNORED_LABEL
from edgestill.train.config import CeLoss, KdLoss, MseLoss
from edgestill.train.losses.base import LossInputs


def is_binary(logits: Tensor, task: str) -> bool:
    """Whether each logit is a yes or no of its own: multi-label, or one logit for two classes."""
    return task == "multilabel" or logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)


class CrossEntropy:
    """Cross-entropy with the labels.

    `[b, c, ...]` logits with `[b, ...]` class numbers (the ignored label counts for nothing), or
    `[b, k]` logits with `[b, k]` zeros and ones for multi-label tasks, where label smoothing
    moves targets towards one half. Use it wherever labels exist; beside `kd` with a low weight.
    """

    name = "ce"
    needs_teacher = False
    needs_labels = True

    def __init__(self, config: CeLoss, task: str) -> None:
        self.weight = config.weight
        self.label_smoothing = config.label_smoothing
        self.task = task

    def __call__(self, inputs: LossInputs) -> Tensor:
        assert inputs.labels is not None
        logits, labels = inputs.student_logits, inputs.labels
        # Not their mean: that is NaN where a batch has no label at all.
        known = labels != IGNORED_LABEL
        if is_binary(logits, self.task):
            targets = torch.where(known, labels, 0).to(logits.dtype).reshape(logits.shape)
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
            terms = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            total = (terms * known.reshape(logits.shape)).sum()
        else:
            total = functional.cross_entropy(
                logits,
                labels.long(),
                ignore_index=IGNORED_LABEL,
                label_smoothing=self.label_smoothing,
                reduction="sum",
            )
        return total / known.sum().clamp(min=1)


class Distillation:
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))`, the mean over samples.

    `[b, c, ...]` logits; every position after the class axis is a sample of its own. For
    multi-label tasks each logit is a distribution over yes and no, summed over the labels.
    T^2 keeps the gradient's size when the temperature changes (Hinton, Vinyals and Dean,
    "Distilling the Knowledge in a Neural Network", 2015, section 2.1).
    """

    name = "kd"
    needs_teacher = True
    needs_labels = False

    def __init__(self, config: KdLoss, task: str) -> None:
        self.weight = config.weight
        self.temperature = config.temperature
        self.task = task

    def __call__(self, inputs: LossInputs) -> Tensor:
        assert inputs.teacher_logits is not None
        student = inputs.student_logits / self.temperature
        teacher = inputs.teacher_logits / self.temperature
        if is_binary(student, self.task):
            # The class axis is made explicit: log-sigmoid of yes and of no.
            student = torch.stack([functional.logsigmoid(student), functional.logsigmoid(-student)])
            teacher = torch.stack([functional.logsigmoid(teacher), functional.logsigmoid(-teacher)])
            samples = student.shape[1]
        else:
            student = functional.log_softmax(student, dim=1)
            teacher = functional.log_softmax(teacher, dim=1)
            samples = student.numel() // student.shape[1]
        divergence = functional.kl_div(student, teacher, reduction="sum", log_target=True)
        return divergence * (self.temperature**2 / samples)


class SquaredError:
    """Mean squared error of the prediction to the labels, or to the teacher's prediction.

    Use it for regression; on logits it is the T -> infinity limit of `kd` up to a factor
    (Hinton et al. 2015, section 2.1; Kim et al., "Comparing KL Divergence and MSE Loss in
    Knowledge Distillation", 2021).
    """

    name = "mse"

    def __init__(self, config: MseLoss, task: str) -> None:
        del task
        self.weight = config.weight
        self.needs_teacher = config.to == "teacher"
        self.needs_labels = config.to == "labels"

    def __call__(self, inputs: LossInputs) -> Tensor:
        target = inputs.teacher_logits if self.needs_teacher else inputs.labels
        assert target is not None
        prediction = inputs.student_logits
        return functional.mse_loss(
            prediction, target.to(prediction.dtype).reshape(prediction.shape)
        )
