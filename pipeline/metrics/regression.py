"""Metrics of regression: predictions and labels `[n, ...]` of one shape; `[n, 1]` is `[n]`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError, ModelError
from edgestill.metrics.shapes import aligned
from edgestill.stats import Sums

Array = NDArray[Any]
Scores = NDArray[np.float64]


def mae(predictions: Array, labels: Array) -> Scores:
    """Per sample `[n]`: the mean absolute error of its values."""
    values, truth = _checked(predictions, labels)
    return np.asarray(np.abs(values - truth).mean(axis=1))


def squared_errors(predictions: Array, labels: Array) -> Sums:
    """The squared errors and the number of values: two sums."""
    values, truth = _checked(predictions, labels)
    squares = np.square(values - truth).sum(axis=1)
    return Sums.dense(np.stack([squares, np.full(len(values), values.shape[1])], axis=1))


def root_mean(sums: Scores) -> float:
    """The root of the mean squared error over all values of all samples."""
    squares, count = sums
    return float(np.sqrt(squares / count))


def r2(predictions: Array, labels: Array) -> float:
    """The share of the labels' variance that is explained, averaged over the columns.

    A column of equal labels counts 1 if it is met exactly, else 0.
    """
    values, truth = _checked(predictions, labels)
    residual = np.square(values - truth).sum(axis=0)
    total = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    constant = np.where(residual == 0.0, 1.0, 0.0)
    explained = 1.0 - residual / np.where(total > 0.0, total, 1.0)
    return float(np.where(total > 0.0, explained, constant).mean())


def _checked(predictions: Array, labels: Array) -> tuple[Scores, Scores]:
    """Both `[n, values] float64`.

    Raises:
        DataError: shapes that do not fit, labels that are not finite.
        ModelError: predictions that are not finite.
    """
    values, truth = aligned(predictions, labels)
    if not np.isfinite(truth).all():
        raise DataError("labels that are not finite numbers")
    if not np.isfinite(values).all():
        raise ModelError("predictions that are not finite numbers")
    return (
        values.astype(np.float64).reshape(len(values), -1),
        truth.astype(np.float64).reshape(len(truth), -1),
    )
