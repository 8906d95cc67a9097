"""How far two models answer alike on the same samples, whatever the labels say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError, ModelError
from edgestill.metrics.classification import predicted_classes
from edgestill.metrics.shapes import aligned, need_numbers
from edgestill.metrics.spec import MetricSpec, Task

Array = NDArray[Any]
Scores = NDArray[np.float64]


def same_class(first: Array, second: Array) -> Scores:
    """Per sample `[n]`: 1 where both give the same class, else 0; a share with positions."""
    first, second = _paired(first, second)
    same = predicted_classes(first) == predicted_classes(second)
    return np.asarray(same.reshape(len(same), -1).mean(axis=1))


def same_labels(first: Array, second: Array) -> Scores:
    """Per sample `[n]`: the share of labels that both give alike (logits above 0)."""
    first, second = aligned(*_paired(first, second))
    return np.asarray(((first > 0) == (second > 0)).reshape(len(first), -1).mean(axis=1))


def concordance(first: Array, second: Array) -> float:
    """Lin's concordance correlation of two models' values, averaged over the columns.

    2 cov / (var + var + (mean - mean)^2): 1 when all values are equal, and less for noise, for a
    shift and for a change of scale; it has no unit (Lin, Biometrics 45 (1989), 255-268). A column
    in which neither model varies counts 1 if the two are equal, else 0.
    """
    first, second = _paired(first, second)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ModelError("outputs that are not finite numbers")
    a = first.astype(np.float64).reshape(len(first), -1)
    b = second.astype(np.float64).reshape(len(second), -1)
    shift = a.mean(axis=0) - b.mean(axis=0)
    covariance = ((a - a.mean(axis=0)) * (b - b.mean(axis=0))).mean(axis=0)
    total = a.var(axis=0) + b.var(axis=0) + np.square(shift)
    return float(
        np.where(total > 0.0, 2.0 * covariance / np.where(total > 0, total, 1), 1.0).mean()
    )


# task -> the metric of (first, second). Regression has none per sample: what a difference of 0.1
# means depends on how much the values vary over the set.
AGREEMENTS: dict[Task, MetricSpec] = {
    "classification": MetricSpec("agreement", ("classification",), True, True, "pp", same_class),
    "multilabel": MetricSpec("agreement", ("multilabel",), True, True, "pp", same_labels),
    "regression": MetricSpec("agreement", ("regression",), False, True, "plain", concordance),
    "custom": MetricSpec("agreement", ("custom",), False, True, "plain", concordance),
}


def largest_difference(first: Array, second: Array) -> float:
    """The largest absolute difference of two outputs of one shape; NaN where either has NaN."""
    first, second = np.asarray(first), np.asarray(second)
    _need_one_shape(first, second)
    if first.size == 0:
        return 0.0
    a, b = first.astype(np.float64), second.astype(np.float64)
    # inf - inf is NaN, but two equal infinities do not differ.
    with np.errstate(invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b)).max())


def _paired(first: Array, second: Array) -> tuple[Array, Array]:
    first, second = np.asarray(first), np.asarray(second)
    _need_one_shape(first, second)
    if first.ndim == 0 or len(first) == 0:
        raise DataError(f"outputs {list(first.shape)} have no samples")
    need_numbers(first)
    need_numbers(second)
    return first, second


def _need_one_shape(first: Array, second: Array) -> None:
    if first.shape != second.shape:
        raise DataError(
            f"outputs {list(first.shape)} and {list(second.shape)} cannot be compared",
            fix="Both models need outputs of one shape on the same samples",
        )
