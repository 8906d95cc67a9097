"""What a loss is given and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class LossInputs:
    """One batch, seen by both models.

    Attributes:
        student_logits: `[b, ...] float32`, the student's prediction, with a gradient.
        teacher_logits: the same shape, without a gradient; None where there is no teacher.
        labels: `[b, ...]`, integers for classification, floats otherwise.
    """

    student_logits: Tensor
    teacher_logits: Tensor | None
    labels: Tensor | None


class Loss(Protocol):
    """A term of the training objective."""

    name: str
    weight: float
    needs_teacher: bool
    needs_labels: bool

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The unweighted term, a scalar."""
        ...
