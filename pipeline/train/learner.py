"""A student with the losses that train it: one module, so that one wrapper sees every parameter.

Peers of the student, which are trained beside it, are part of that module for the same reason.
"""

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

    With peers, to each learner the mean of the others' logits is its teacher's prediction. Each
    runs once a step, and all learn from what the others said before it, so that nobody comes first
    (Zhang et al., "Deep Mutual Learning", 2018, whose models are updated in turn and asked again
    after it, and whose loss is the mean over the others instead).

    Args:
        bf16: compute the student in bfloat16 where PyTorch deems it safe.
        only: the paths of the student's modules that learn; without any, all of them.
        peers: who learns beside it.

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
        peers: Sequence[Learner] = (),
    ) -> None:
        super().__init__()
        # A tuple, so that they are not registered a second time.
        self.frozen = freeze_all_but(student, only) if only else ()
        self.student = student
        self.losses = nn.ModuleList(losses)
        self.bf16 = bf16
        taps = dict.fromkeys(tap for loss in losses for tap in loss.reads.student)
        self.taps = Taps(student.module, taps, "student")
        self.peers = nn.ModuleList(peers)

    def train(self, mode: bool = True) -> Learner:
        """Train mode, but for the modules that do not learn."""
        super().train(mode)
        for module in self.frozen:
            module.training = False
        return self

    @property
    def learners(self) -> list[Learner]:
        """Itself, and its peers."""
        return [self, *(peer for peer in self.peers if isinstance(peer, Learner))]

    @property
    def terms(self) -> list[Loss]:
        """The losses of all learners, each learner's together."""
        return [loss for learner in self.learners for loss in learner.own_terms]

    @property
    def own_terms(self) -> list[Loss]:
        return [loss for loss in self.losses if isinstance(loss, Loss)]

    def own_parameters(self) -> list[nn.Parameter]:
        """Those of the student and its losses, without the peers'."""
        return [*self.student.parameters(), *self.losses.parameters()]

    def adapt(self, inputs: list[Tensor], given: Given) -> list[str]:
        """Make what the shapes of an example ask for; what was made, in words.

        Raises:
            ModelError: features that cannot be brought together.
        """
        if all(type(loss).adapt is Loss.adapt for loss in self.terms):
            return []
        training = [learner.student.training for learner in self.learners]
        for learner in self.learners:
            learner.student.eval()
        with torch.no_grad():
            examples = self.batches(inputs, given)
            words = [
                loss.adapt(example)
                for learner, example in zip(self.learners, examples, strict=True)
                for loss in learner.own_terms
            ]
        for learner, was_training in zip(self.learners, training, strict=True):
            learner.student.train(was_training)
        return [word for word in words if word]

    def outputs(self, inputs: list[Tensor]) -> Outputs:
        """What the student gives for a batch."""
        device = inputs[0].device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16), self.taps:
            logits = self.student.prediction(*inputs)
        return Outputs(logits.float(), self.taps.collect(len(inputs[0])))

    def batches(self, inputs: list[Tensor], given: Given) -> list[LossInputs]:
        """What each learner's losses read."""
        said = [learner.outputs(inputs) for learner in self.learners]
        if len(said) == 1:
            return [given(said[0])]
        batches = []
        for own in said:
            others = torch.stack([other.logits.detach() for other in said if other is not own])
            batches.append(replace(given(own), teacher=Outputs(others.mean(0))))
        return batches

    def forward(
        self, inputs: list[Tensor], given: Given, due: Sequence[int]
    ) -> tuple[list[Tensor], list[LossInputs]]:
        """The terms numbered `due`, and what each learner's were computed from, detached."""
        batches = self.batches(inputs, given)
        read = [
            (loss, batch)
            for learner, batch in zip(self.learners, batches, strict=True)
            for loss in learner.own_terms
        ]
        terms = [loss(batch) for loss, batch in (read[index] for index in due)]
        return terms, [replace(batch, student=batch.student.detached()) for batch in batches]
