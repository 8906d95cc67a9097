"""Predictions as rows: one for everything that is classified, whatever the task and the rank."""

from __future__ import annotations

import torch
from torch import Tensor

from edgestill.metrics import IGNORED_LABEL
from edgestill.train.losses.base import LossInputs


def is_binary(logits: Tensor, task: str) -> bool:
    """Whether each logit is a yes or no of its own: multi-label, or one logit for two classes."""
    return task == "multilabel" or logits.ndim == 1 or logits.shape[1] == 1


def class_rows(logits: Tensor, task: str) -> Tensor:
    """`[b, c, ...]` as `[n, c]`; a yes-or-no logit z as the two logits of no and yes, 0 and z."""
    if is_binary(logits, task):
        flat = logits.reshape(-1)
        return torch.stack([torch.zeros_like(flat), flat], dim=1)
    return logits.movedim(1, -1).reshape(-1, logits.shape[1])


def rows_of_one(logits: Tensor, task: str) -> int:
    """How many rows are one sample or position: of a multi-label one as many as it has labels."""
    return logits.shape[1:2].numel() if task == "multilabel" else 1


def paired_rows(inputs: LossInputs, task: str) -> tuple[Tensor, Tensor]:
    """Student's and teacher's logits, both `[n, c]`.

    An ignored position, such as padding, teaches nothing; a sample without a label does.
    """
    assert inputs.teacher is not None
    student = class_rows(inputs.student.logits, task)
    teacher = class_rows(inputs.teacher.logits, task)
    counted = _counted(inputs)
    return (student, teacher) if counted is None else (student[counted], teacher[counted])


def _counted(inputs: LossInputs) -> Tensor | None:
    """Which positions count, `[n] bool`; None where samples have no positions."""
    logits, labels = inputs.student.logits, inputs.labels
    positions = logits.shape[:1] + logits.shape[2:]
    if logits.ndim > 2 and labels is not None and labels.own.shape == positions:
        return labels.own.reshape(-1) != IGNORED_LABEL
    if logits.ndim > 2 and inputs.attended is not None and inputs.attended.shape == positions:
        return inputs.attended.reshape(-1).bool()
    return None
