"""Metrics of single-label classification.

Logits are `[n, classes]`, or `[n, classes, ...]` with labels `[n, ...]` as in torch. `[n]` and
`[n, 1, ...]` are one logit of a binary classifier: class 1 above 0. Positions with the label -100
do not count.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError
from edgestill.metrics.shapes import misfit, need_numbers, need_samples

Array = NDArray[Any]
Scores = NDArray[np.float64]
Classes = NDArray[np.int64]

IGNORED_LABEL = -100


def accuracy(predictions: Array, labels: Array) -> Scores:
    """Per sample `[n]`: is the largest logit the label's; with positions the share of them."""
    logits, truth = _checked(predictions, labels)
    return _mean_of_counted(_predicted(logits) == truth, truth)


def top5(predictions: Array, labels: Array) -> Scores:
    """Per sample `[n]`: is the label among the five largest logits (of equal ones the first)."""
    logits, truth = _checked(predictions, labels)
    if logits.shape[1] <= 5:
        raise DataError(
            f"top5 of {logits.shape[1]} classes is always 1", fix="Use accuracy instead"
        )
    at = np.where(truth == IGNORED_LABEL, 0, truth)[:, None]
    own = np.take_along_axis(logits, at, axis=1)
    order = np.arange(logits.shape[1]).reshape(1, -1, *[1] * (logits.ndim - 2))
    ahead = ((logits > own) | ((logits == own) & (order < at))).sum(axis=1)
    return _mean_of_counted(ahead < 5, truth)


def f1_macro(predictions: Array, labels: Array) -> float:
    """Mean of the classes' F1 over the classes that occur in labels or predictions."""
    hits, predicted, present = _counts(predictions, labels)
    occurs = (predicted + present) > 0
    return float((2.0 * hits[occurs] / (predicted + present)[occurs]).mean())


def balanced_accuracy(predictions: Array, labels: Array) -> float:
    """Mean of the classes' recall over the classes that occur in the labels."""
    hits, _, present = _counts(predictions, labels)
    occurs = present > 0
    return float((hits[occurs] / present[occurs]).mean())


def predicted_classes(predictions: Array) -> Classes:
    """The class of each sample or position, `[n, ...]`; see the module for the shapes.

    Raises:
        ModelError: predictions have NaN.
    """
    predictions = np.asarray(predictions)
    need_numbers(predictions)
    if predictions.ndim == 1:
        predictions = predictions[:, None]
    return _predicted(predictions)


def _predicted(logits: Array) -> Classes:
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def _checked(predictions: Array, labels: Array) -> tuple[Array, Classes]:
    """Logits `[n, classes, ...]` and labels `[n, ...]` that fit.

    Raises:
        DataError: shapes that do not fit, labels that are no class numbers or out of range.
        ModelError: predictions have NaN.
    """
    logits, truth = np.asarray(predictions), np.asarray(labels)
    need_samples(logits, truth)
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.ndim == 2 and truth.shape == (len(logits), 1):
        truth = truth[:, 0]
    if truth.shape != (len(logits), *logits.shape[2:]):
        raise misfit(
            np.asarray(predictions),
            np.asarray(labels),
            "Classification takes logits [n, classes] with labels [n], or [n, classes, ...] "
            "with [n, ...]: the classes are axis 1",
        )
    need_numbers(logits)
    classes = max(2, logits.shape[1])
    if truth.dtype.kind not in "iub" and not (truth == np.round(truth)).all():
        raise DataError(f"labels of type {truth.dtype} are not class numbers")
    truth = truth.astype(np.int64)
    bad = truth[((truth < 0) | (truth >= classes)) & (truth != IGNORED_LABEL)]
    if bad.size:
        raise DataError(
            f"label {int(bad[0])} is out of range for predictions "
            f"{list(np.shape(predictions))} and labels {list(np.shape(labels))}",
            fix=f"Labels run from 0 to {classes - 1}; {IGNORED_LABEL} is ignored",
        )
    return logits, truth


def _mean_of_counted(right: Array, truth: Classes) -> Scores:
    counted = (truth != IGNORED_LABEL).reshape(len(truth), -1)
    number = counted.sum(axis=1)
    if not number.all():
        raise DataError(
            f"sample {int((number == 0).argmax())} has no label but {IGNORED_LABEL}",
            fix="Leave samples without labels out of the split",
        )
    return np.asarray((right.reshape(len(truth), -1) & counted).sum(axis=1) / number)


def _counts(predictions: Array, labels: Array) -> tuple[Scores, Scores, Scores]:
    """How often each class was hit, predicted and present, `[classes]` each."""
    logits, truth = _checked(predictions, labels)
    classes = max(2, logits.shape[1])
    counted = truth != IGNORED_LABEL
    if not counted.any():
        raise DataError(f"no sample has a label but {IGNORED_LABEL}")
    given, answered = truth[counted], _predicted(logits)[counted]
    hits, predicted, present = (
        np.bincount(numbers, minlength=classes).astype(np.float64)
        for numbers in (given[given == answered], answered, given)
    )
    return hits, predicted, present
