"""Metrics of multi-label classification: logits `[n, ...]`, present above 0; labels 0 or 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError
from edgestill.metrics.shapes import aligned
from edgestill.stats import Sums

Array = NDArray[Any]
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]


def label_accuracy(predictions: Array, labels: Array) -> Scores:
    """Per sample `[n]`: the share of labels that are right."""
    predicted, present = _checked(predictions, labels)
    return np.asarray((predicted == present).mean(axis=1))


def exact_match(predictions: Array, labels: Array) -> Scores:
    """Per sample `[n]`: 1 where every label is right, else 0."""
    predicted, present = _checked(predictions, labels)
    return np.asarray((predicted == present).all(axis=1), dtype=np.float64)


def label_counts(predictions: Array, labels: Array) -> Sums:
    """How many labels are predicted and present, and how many predicted or present: two sums."""
    predicted, present = _checked(predictions, labels)
    both = (predicted & present).sum(axis=1)
    either = predicted.sum(axis=1) + present.sum(axis=1)
    return Sums.dense(np.stack([both, either], axis=1))


def micro_f1(counts: Scores) -> float:
    """F1 over all labels of all samples; 0 where none is present and none predicted."""
    both, either = counts
    return float(2.0 * both / either) if either else 0.0


def _checked(predictions: Array, labels: Array) -> tuple[Flags, Flags]:
    """Both `[n, labels]`.

    Raises:
        DataError: shapes that do not fit, labels other than 0 and 1.
        ModelError: predictions have NaN.
    """
    logits, truth = aligned(predictions, labels)
    wrong = truth[(truth != 0) & (truth != 1)]
    if wrong.size:
        raise DataError(
            f"label {wrong[0]} in multi-label labels {list(truth.shape)} "
            f"(predictions {list(logits.shape)})",
            fix="Each is 0 or 1, one column a label",
        )
    return (logits > 0).reshape(len(logits), -1), (truth == 1).reshape(len(truth), -1)
