"""A teacher that is asked about each batch, and one that is the student's own average."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel
from edgestill.train.losses.base import Labels, Outputs
from edgestill.train.losses.config import Tap
from edgestill.train.taps import Taps
from edgestill.train.views import Rows
from edgestill.train.voices import TEACHER


class LiveTeacher:
    """A frozen model in eval mode, asked at every step.

    Args:
        role: what messages call it.

    Raises:
        ModelError: it has no layer of a tap.
    """

    def __init__(self, model: DeviceModel, taps: Iterable[Tap], role: str = TEACHER) -> None:
        self.model = model
        self.role = role
        freeze(model)
        self.taps = Taps(model.module, taps, role)
        self._digest = weights_digest(model)
        self._device: torch.device | None = None

    @property
    def prediction_shape(self) -> tuple[int, ...]:
        """What it predicts for one sample, without the batch."""
        return self.model.prediction_shape

    def view_of(self, epoch: int) -> int:
        return epoch

    def answer(
        self, inputs: list[Tensor], rows: Rows, view: int, labels: Labels | None = None
    ) -> Outputs:
        del rows, view, labels
        if self._device != inputs[0].device:  # to ask every layer takes a large model milliseconds
            self._device = inputs[0].device
            self.model.to(self._device)
        with torch.no_grad(), self.taps:
            logits = self.model.prediction(*inputs).float()
        return Outputs(logits, self.taps.collect(len(inputs[0])))

    def require_unchanged(self) -> None:
        self._require_eval()
        if weights_digest(self.model) != self._digest:
            raise ModelError(
                f"the {self.role}'s weights changed during the training",
                where=self.role,
                fix="Look for weights that it shares with the student, and for buffers that its "
                "forward writes",
            )

    def _require_eval(self) -> None:
        if any(part.training for part in self.model.modules()):
            raise ModelError(
                f"the {self.role} is in train mode",
                where=self.role,
                fix="Look for .train() in its forward: a teacher answers in eval mode",
            )


class AverageTeacher(LiveTeacher):
    """The moving average of the student's own weights, which changes with them.

    (Tarvainen and Valpola, "Mean teachers are better role models", 2017.) It starts as a copy of
    the student, answers in eval mode, on the view that the student sees.
    """

    def require_unchanged(self) -> None:
        self._require_eval()


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
