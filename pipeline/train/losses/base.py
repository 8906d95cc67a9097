"""What a loss is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgestill.train.losses.config import Reads, Tap
from edgestill.train.schedule import Schedule, value_at


@dataclass(frozen=True)
class Outputs:
    """What one model gave for a batch.

    Attributes:
        logits: `[b, ...] float32`, its prediction.
        features: what its tapped layers gave, each `[b, ...] float32`.
    """

    logits: Tensor
    features: Mapping[Tap, Tensor] = field(default_factory=dict)

    def detached(self) -> Outputs:
        features = {tap: feature.detach() for tap, feature in self.features.items()}
        return Outputs(self.logits.detach(), features)


@dataclass(frozen=True)
class Labels:
    """What a batch's samples are; where samples were mixed, also what was mixed in.

    Attributes:
        own: `[b, ...]`, integers for classification, floats otherwise.
        partner: the same of the samples that were mixed in; None without mixing.
        share: `[b] float32`, how much of each sample is its own.
    """

    own: Tensor
    partner: Tensor | None = None
    share: Tensor | None = None


def _alone(rows: Tensor) -> Tensor:
    return rows


@dataclass(frozen=True)
class LossInputs:
    """One batch, of which both models saw the same view.

    Attributes:
        student: with gradients.
        teacher: without; None where nobody teaches.
        labels: None for a batch without labels.
        progress: the share of the training that is over, 0 to 1.
        attended: `[b, t]`, which tokens are no padding; None where nothing says so.
        gather: makes `[b, ...]` of one process the rows of all, with gradients; where a loss
            relates samples, the batch is what all processes see.
    """

    student: Outputs
    teacher: Outputs | None = None
    labels: Labels | None = None
    progress: float = 0.0
    attended: Tensor | None = None
    gather: Callable[[Tensor], Tensor] = _alone


class Loss(nn.Module):
    """A term of the training objective; what it learns beside the student are its parameters.

    Attributes:
        name: what logs and messages call it.
        weight: of the term in the sum, a constant or a schedule.
        reads: what it reads of the two models.
        relates_samples: whether samples of a batch are compared with each other, so that the term
            is one of all processes' batches together.
        optimizer: of parameters that are not trained with the student; its state is kept with the
            training's.
    """

    relates_samples: bool = False

    def __init__(self, name: str, weight: float | Schedule, reads: Reads) -> None:
        super().__init__()
        self.name = name
        self.weight = weight
        self.reads = reads
        self.optimizer: torch.optim.Optimizer | None = None

    @property
    def needs_teacher(self) -> bool:
        return self.reads.prediction or bool(self.reads.teacher)

    def pair(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """What it compares of student and teacher: a layer of each, or their predictions."""
        assert inputs.teacher is not None
        if not self.reads.teacher:
            return inputs.student.logits, inputs.teacher.logits
        (own,), (other,) = self.reads.student, self.reads.teacher
        return inputs.student.features[own], inputs.teacher.features[other]

    def weight_at(self, progress: float) -> float:
        """The weight when the share `progress` of the training is over."""
        return value_at(self.weight, progress)

    def adapt(self, example: LossInputs) -> str | None:
        """Make what the shapes of `example` ask for; called once, before the first step.

        Returns:
            What was made, in words for the log; None for nothing.

        Raises:
            ModelError: the shapes cannot be brought together.
        """
        del example
        return None

    def forward(self, inputs: LossInputs) -> Tensor:
        """The unweighted term, a scalar."""
        raise NotImplementedError

    def after_step(self, inputs: LossInputs) -> None:
        """Called after each step of the student, with detached outputs."""
        del inputs

    def readings(self) -> Mapping[str, Tensor]:
        """What the log should have of the last step beside the term, each a scalar."""
        return {}
