"""Predictions as rows: one for everything that is classified, whatever the task and the rank."""

from __future__ import annotations

import torch
from torch import Tensor

from edgestill.metrics import IGNORED_LABEL
from edgestill.train.losses.base import LossInputs


def is_binary(logits: Tensor, task: str) -> bool:
    """Whether each logit is a yes or no of its own: multi-label, or one logit for two classes."""
    return task == "multilabel" or logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)


def class_rows(logits: Tensor, task: str) -> Tensor:
    """`[b, c, ...]` as `[n, c]`; a yes-or-no logit z as the two logits of no and yes, 0 and z."""
    if is_binary(logits, task):
        flat = logits.reshape(-1)
        return torch.stack([torch.zeros_like(flat), flat], dim=1)
    return logits.movedim(1, -1).reshape(-1, logits.shape[1])


def label_rows(inputs: LossInputs) -> Tensor:
    """The label of each row of `paired_rows`, `[n] int64`."""
    assert inputs.labels is not None
    labels = inputs.labels.own.reshape(-1).long()
    return labels[labels != IGNORED_LABEL] if _has_positions(inputs) else labels


def paired_rows(inputs: LossInputs, task: str) -> tuple[Tensor, Tensor]:
    """Student's and teacher's logits, both `[n, c]`.

    An ignored position, such as padding, teaches nothing; a sample without a label does.
    """
    assert inputs.teacher is not None
    student = class_rows(inputs.student.logits, task)
    teacher = class_rows(inputs.teacher.logits, task)
    if inputs.labels is None or not _has_positions(inputs):
        return student, teacher
    known = inputs.labels.own.reshape(-1) != IGNORED_LABEL
    return student[known], teacher[known]


def _has_positions(inputs: LossInputs) -> bool:
    labels, logits = inputs.labels, inputs.student.logits
    return labels is not None and logits.ndim > 2 and labels.own.ndim == logits.ndim - 1
