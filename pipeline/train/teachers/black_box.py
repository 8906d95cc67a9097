"""A teacher of which nothing is known but what it answers."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgestill.errors import ModelError
from edgestill.train.losses.base import Labels, Outputs
from edgestill.train.predict import Arrays
from edgestill.train.views import Rows

_PROBE_SAMPLES = 2
# Of two answers to one sample, relative to the largest value.
_TOLERANCE = 1e-3

Inputs = list[NDArray[Any]]


class BlackBox:
    """Inputs in, predictions out; it has no layers that a loss could read.

    Args:
        probe: a few samples, each input `[n, ...]`, on which it is tried.
        advice: what to do about one that answers a sample in two ways.

    Attributes:
        role: what messages call it; set before it is tried.
        prediction_shape: what it predicts for one sample, without the batch.

    Raises:
        ModelError: its answers are not steady.
    """

    role: str

    def __init__(self, probe: Inputs, advice: str) -> None:
        together = self.ask(probe)
        self.prediction_shape: tuple[int, ...] = together.shape[1:]
        rows = range(len(together))
        alone = [self._asked([array[row : row + 1] for array in probe]) for row in rows]
        allowed = _TOLERANCE * float(numpy.abs(together).max(initial=0.0))
        if not numpy.allclose(
            numpy.concatenate(alone), together, rtol=0, atol=allowed, equal_nan=True
        ):
            raise ModelError(
                "it answers a sample otherwise when it is asked again, or beside another one",
                where=self.role,
                fix=advice,
            )

    def ask(self, inputs: Inputs) -> NDArray[numpy.float32]:
        """The prediction for any number of samples, `[b, ...]`."""
        raise NotImplementedError

    def view_of(self, epoch: int) -> int:
        return epoch

    def answer(
        self, inputs: list[Tensor], rows: Rows, view: int, labels: Labels | None = None
    ) -> Outputs:
        del rows, view, labels
        logits = self._asked([tensor.cpu().numpy() for tensor in inputs])
        return Outputs(torch.from_numpy(logits).to(inputs[0].device))

    def require_unchanged(self) -> None:
        """Nothing of it lies where a training could write."""

    def _asked(self, inputs: Inputs) -> NDArray[numpy.float32]:
        answers = self.ask(inputs)
        if answers.shape[1:] != self.prediction_shape:
            raise ModelError(
                f"it predicts {list(answers.shape[1:])} values per sample, and "
                f"{list(self.prediction_shape)} when it was asked first",
                where=self.role,
                fix="Let its prediction have one shape, whatever the batch",
            )
        return answers


def few(arrays: Arrays) -> Inputs:
    """The first samples of a split, to try a teacher on."""
    return [numpy.array(array[:_PROBE_SAMPLES]) for array in arrays.values()]
