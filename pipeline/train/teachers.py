"""Who teaches: where a batch's answers come from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel
from edgestill.train.losses.base import Outputs
from edgestill.train.losses.config import Tap
from edgestill.train.taps import Taps
from edgestill.train.views import Rows


class Teacher(Protocol):
    """Answers batches of the train split."""

    def view_of(self, epoch: int) -> int:
        """The number of the view that it can answer in this epoch."""
        ...

    def answer(self, inputs: list[Tensor], rows: Rows, view: int) -> Outputs:
        """What it says of the samples `rows` in view `view`, which `inputs` `[b, ...]` are."""
        ...

    def require_unchanged(self) -> None:
        """Called after each epoch.

        Raises:
            ModelError: it is not what it was at the start.
        """
        ...


class LiveTeacher:
    """A frozen model in eval mode, asked at every step.

    Raises:
        ModelError: it has no layer of a tap.
    """

    def __init__(self, model: DeviceModel, taps: Iterable[Tap]) -> None:
        self.model = model
        freeze(model)
        self.taps = Taps(model.module, taps, "teacher")
        self._digest = weights_digest(model)

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        """What it predicts for one sample, without the batch."""
        return self.model.prediction_shape

    def view_of(self, epoch: int) -> int:
        return epoch

    def answer(self, inputs: list[Tensor], rows: Rows, view: int) -> Outputs:
        del rows, view
        self.model.to(inputs[0].device)
        with torch.no_grad(), self.taps:
            logits = self.model.prediction(*inputs).float()
        return Outputs(logits, self.taps.collect(len(inputs[0])))

    def require_unchanged(self) -> None:
        require_eval(self.model)
        if weights_digest(self.model) != self._digest:
            raise ModelError(
                "the teacher's weights changed during the training",
                where="teacher",
                fix="Look for weights that it shares with the student, and for buffers that its "
                "forward writes",
            )


class AverageTeacher(LiveTeacher):
    """The moving average of the student's own weights, which changes with them.

    (Tarvainen and Valpola, "Mean teachers are better role models", 2017.) It starts as a copy of
    the student, answers in eval mode, on the view that the student sees.
    """

    def require_unchanged(self) -> None:
        require_eval(self.model)


def require_eval(model: nn.Module) -> None:
    """Refuse a teacher of which some part is in train mode.

    Raises:
        ModelError: it is, or a part of it is.
    """
    if any(part.training for part in model.modules()):
        raise ModelError(
            "the teacher is in train mode",
            where="teacher",
            fix="Look for .train() in its forward: a teacher answers in eval mode",
        )


def freeze(model: nn.Module) -> None:
    """Make `model` a teacher: eval mode, no gradients."""
    model.eval()
    model.requires_grad_(False)


def weights_digest(model: nn.Module) -> str:
    """The digest of all weights and buffers."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
