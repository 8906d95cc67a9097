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
from edgestill.stats import Sums

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


def class_counts(predictions: Array, labels: Array) -> Sums:
    """How often each class was hit, predicted and present: three times `classes` sums.

    Raises:
        DataError: no sample has a label that counts; or as `accuracy`.
    """
    logits, truth = _checked(predictions, labels)
    classes = max(2, logits.shape[1])
    counted = truth != IGNORED_LABEL
    if not counted.any():
        raise DataError(f"no sample has a label but {IGNORED_LABEL}")
    given, answered = truth[counted], _predicted(logits)[counted]
    sample = np.broadcast_to(
        np.arange(len(truth)).reshape(-1, *[1] * (truth.ndim - 1)), truth.shape
    )[counted]
    hit = given == answered
    kinds = (sample[hit], given[hit]), (sample, answered), (sample, given)
    counts = [_count_cells(*kind, classes, len(truth)) for kind in kinds]
    return Sums(
        samples=len(truth),
        width=3 * classes,
        sample=np.concatenate([found for found, _, _ in counts]),
        column=np.concatenate(
            [kind * classes + found for kind, (_, found, _) in enumerate(counts)]
        ),
        value=np.concatenate([number for _, _, number in counts]).astype(np.float64),
    )


def macro_f1(counts: Scores) -> float:
    """Mean of the classes' F1 over the classes that occur in labels or predictions."""
    hits, predicted, present = counts.reshape(3, -1)
    occurs = (predicted + present) > 0
    return float((2.0 * hits[occurs] / (predicted + present)[occurs]).mean())


def mean_recall(counts: Scores) -> float:
    """Balanced accuracy: mean of the classes' recall over the classes that occur in the labels."""
    hits, _, present = counts.reshape(3, -1)
    occurs = present > 0
    return float((hits[occurs] / present[occurs]).mean())


def mean_jaccard(counts: Scores) -> float:
    """Mean intersection over union of the classes that occur in labels or predictions.

    Over all positions of the set, as in PASCAL VOC (Everingham et al., IJCV 111 (2015), 98-136),
    and not averaged over images.
    """
    hits, predicted, present = counts.reshape(3, -1)
    union = predicted + present - hits
    return float((hits[union > 0] / union[union > 0]).mean())


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


def _count_cells(
    sample: Array, classes_of: Array, classes: int, samples: int
) -> tuple[Array, Array, Array]:
    """The pairs of a sample and a class that occur, and how often each does."""
    cells = sample * classes + classes_of
    if samples * classes <= len(cells):
        numbers = np.bincount(cells, minlength=samples * classes)
        found = np.flatnonzero(numbers)
        numbers = numbers[found]
    else:
        found, numbers = np.unique(cells, return_counts=True)
    return (*np.divmod(found, classes), numbers)
