"""Do predictions and labels fit each other? Errors name both shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError, ModelError

Array = NDArray[Any]


def misfit(predictions: Array, labels: Array, fix: str) -> DataError:
    """The error for shapes that cannot belong together."""
    return DataError(
        f"predictions {list(predictions.shape)} do not fit labels {list(labels.shape)}", fix=fix
    )


def need_numbers(predictions: Array) -> None:
    """Refuse NaN, which would be scored as an ordinary answer (argmax takes it for the largest).

    Raises:
        ModelError: some sample's prediction has NaN.
    """
    bad = np.isnan(predictions)
    if bad.any():
        samples = int(bad.reshape(len(bad), -1).any(axis=1).sum())
        raise ModelError(
            f"the predictions of {samples} of {len(predictions)} samples have NaN",
            fix="Look for overflow in half precision, or a division by zero in the model",
        )


def need_samples(predictions: Array, labels: Array) -> None:
    """Raises DataError when there are no samples."""
    if predictions.ndim == 0 or labels.ndim == 0 or len(labels) == 0 or len(predictions) == 0:
        raise misfit(predictions, labels, "Give at least one sample along the first axis")


def aligned(predictions: Array, labels: Array) -> tuple[Array, Array]:
    """Both in one shape; `[n, 1]` and `[n]` are the same.

    Raises:
        DataError: the shapes differ otherwise.
        ModelError: predictions have NaN.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    need_samples(predictions, labels)
    if predictions.size == labels.size == len(labels) == len(predictions):
        predictions, labels = predictions.reshape(-1), labels.reshape(-1)
    if predictions.shape != labels.shape:
        raise misfit(predictions, labels, "They need the same shape")
    need_numbers(predictions)
    return predictions, labels
