"""A student with the losses that train it: one module, so that one wrapper sees every parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgestill.models.wrapper import DeviceModel
from edgestill.train.freezing import freeze_all_but
from edgestill.train.losses.base import Loss, LossInputs, Outputs
from edgestill.train.taps import Taps

# The rest of a batch, waiting for what the student says of it.
Given = Callable[[Outputs], LossInputs]


# An input of this name says which tokens are no padding, as in the transformers library.
_ATTENDED = "attention_mask"


def attended_tokens(names: Iterable[str], inputs: Sequence[Tensor]) -> Tensor | None:
    """Which tokens are no padding, `[b, t]`; None where no input says so."""
    return dict(zip(names, inputs, strict=True)).get(_ATTENDED)


class Learner(nn.Module):
    """Runs the student and computes every term.

    Args:
        bf16: compute the student in bfloat16 where PyTorch deems it safe.
        only: the paths of the student's modules that learn; without any, all of them.

    Raises:
        ModelError: the student has no layer that a loss or `only` names.
    """

    def __init__(
        self,
        student: DeviceModel,
        losses: Sequence[Loss],
        *,
        bf16: bool = False,
        only: Sequence[str] = (),
    ) -> None:
        super().__init__()
        # A tuple, so that they are not registered a second time.
        self.frozen = freeze_all_but(student, only) if only else ()
        self.student = student
        self.losses = nn.ModuleList(losses)
        self.bf16 = bf16
        taps = dict.fromkeys(tap for loss in losses for tap in loss.reads.student)
        self.taps = Taps(student.module, taps, "student")

    def train(self, mode: bool = True) -> Learner:
        """Train mode, but for the modules that do not learn."""
        super().train(mode)
        for module in self.frozen:
            module.training = False
        return self

    @property
    def terms(self) -> Sequence[Loss]:
        return [loss for loss in self.losses if isinstance(loss, Loss)]

    def adapt(self, inputs: list[Tensor], given: Given) -> list[str]:
        """Make what the shapes of an example ask for; what was made, in words.

        Raises:
            ModelError: features that cannot be brought together.
        """
        if all(type(loss).adapt is Loss.adapt for loss in self.terms):
            return []
        was_training = self.student.training
        self.student.eval()
        with torch.no_grad():
            example = given(self.outputs(inputs))
            words = [loss.adapt(example) for loss in self.terms]
        self.student.train(was_training)
        return [word for word in words if word]

    def outputs(self, inputs: list[Tensor]) -> Outputs:
        """What the student gives for a batch."""
        device = inputs[0].device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16), self.taps:
            logits = self.student.prediction(*inputs)
        return Outputs(logits.float(), self.taps.collect(len(inputs[0])))

    def forward(
        self, inputs: list[Tensor], given: Given, due: Sequence[int]
    ) -> tuple[list[Tensor], LossInputs]:
        """The terms of the losses numbered `due`, and what they were computed from, detached."""
        batch = given(self.outputs(inputs))
        terms = [self.losses[index](batch) for index in due]
        return terms, replace(batch, student=batch.student.detached())
