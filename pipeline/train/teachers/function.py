"""A teacher given as a function: whatever answers samples, such as a model that lies elsewhere."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from edgestill.errors import EdgestillError, EnvironmentFailure, ModelError
from edgestill.models.interface import require_positions
from edgestill.models.resolve import load_callable
from edgestill.reference import run
from edgestill.train.predict import BATCH, Arrays
from edgestill.train.teachers.black_box import BlackBox, Inputs, few
from edgestill.train.voices import TEACHER

# Other errors of the system are of their code: a file that is none, a name that is not there.
_SYSTEM = {
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENODEV,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
}
_AGAIN = (
    "Run again once it answers: finished steps are kept, a training goes on from its last "
    "checkpoint, and distill.cache keeps each view that is complete"
)


class FunctionTeacher(BlackBox):
    """A user's function of a batch: from the device input, arrays `[b, ...]` by name, to its
    prediction, `[b, ...]` floats.

    Args:
        reference: `file.py:callable`, relative to `base`, or `package.module:callable`.
        arrays: the inputs of samples that it will be asked about, each `[n, ...]`.
        mixed: the input whose values are blended from two samples, if one is: it is given floats,
            whatever the samples are.
        role: what messages call it.
        classes_last: whether its prediction has its classes on the last axis; they become the
            first one after the batch.

    Raises:
        ModelError: the function cannot be found, raises, or returns no prediction.
        EnvironmentFailure: what it asks, such as a server, cannot be reached.
    """

    def __init__(
        self,
        reference: str,
        base: Path,
        arrays: Arrays,
        mixed: str | None,
        role: str = TEACHER,
        *,
        classes_last: bool = False,
    ) -> None:
        self.role = role
        self._classes_last = classes_last
        self._reference, self._base = reference, base
        try:
            self._function = load_callable(reference, base)
        except ModelError as error:
            raise self._told(error) from error.__cause__
        self._names = tuple(arrays)
        probe = [
            array.astype(numpy.float32) if name == mixed else array
            for name, array in zip(self._names, few(arrays), strict=True)
        ]
        advice = (
            "Let it answer each sample by itself: no random numbers, nothing that it keeps between "
            "calls, no statistics over the batch"
        )
        super().__init__(probe, advice)

    def ask(self, inputs: Inputs) -> NDArray[numpy.float32]:
        # Copies: the student is fed what these arrays share their memory with.
        given = {name: array.copy() for name, array in zip(self._names, inputs, strict=True)}
        try:
            answer = run(self._reference, self._base, lambda: self._function(given), ModelError)
            return self._classes_first(_prediction(answer, len(inputs[0])))
        except ModelError as error:
            raise self._told(error) from error.__cause__

    def predict(self, arrays: Arrays) -> NDArray[numpy.float32]:
        """The prediction for all samples of a split, asked for in batches."""
        starts = range(0, len(next(iter(arrays.values()))), BATCH)
        return numpy.concatenate(
            [self._asked([a[start : start + BATCH] for a in arrays.values()]) for start in starts]
        )

    def _told(self, error: ModelError) -> EdgestillError:
        """What a failure of the user's code is to the user."""
        error.where = f"{self.role}: {error.where or self._reference}"
        if _unreachable(error.__cause__):
            return EnvironmentFailure(error.what, where=error.where, fix=_AGAIN)
        return error

    def _classes_first(self, prediction: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
        if not self._classes_last:
            return prediction
        require_positions(prediction.shape[1:])
        return numpy.ascontiguousarray(numpy.moveaxis(prediction, -1, 1))


def _unreachable(raised: BaseException | None) -> bool:
    """Whether a network, a disk or a device is behind what was raised: clients of servers have
    exceptions of their own, which were raised because of the system's, or while it was handled."""
    while raised is not None:
        if isinstance(raised, (ConnectionError, TimeoutError, socket.gaierror)):
            return True
        if isinstance(raised, OSError) and raised.errno in _SYSTEM:
            return True
        raised = raised.__cause__ or raised.__context__
    return False


def _prediction(answer: Any, count: int) -> NDArray[numpy.float32]:
    """What the function returned for `count` samples, once it is known to be a prediction."""
    if not isinstance(answer, numpy.ndarray):
        raise ModelError(
            f"it returned {'None' if answer is None else f'a {type(answer).__name__}'}, not a "
            "numpy array",
            fix="Return one array with a row for each sample",
        )
    if answer.dtype.kind != "f":
        raise ModelError(
            f"it returned {answer.dtype.name}, and a student learns from logits or values",
            fix="Return floats: a logit for each class, not the number of the likeliest",
        )
    if answer.shape[:1] != (count,):
        raise ModelError(
            f"it returned {list(answer.shape)} for {count} sample{'s' * (count > 1)}: its first "
            "axis is not the batch",
            fix="Return one row for each sample",
        )
    with numpy.errstate(over="ignore"):  # found below
        floats = answer.astype(numpy.float32)
    if not numpy.isfinite(floats).all():
        raise ModelError(
            "it returned values that are not finite in float32",
            fix="Return finite numbers for every sample",
        )
    return floats
