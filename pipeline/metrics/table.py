"""The table of metrics, and scoring by it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError
from edgestill.metrics.classification import (
    accuracy,
    class_counts,
    macro_f1,
    mean_jaccard,
    mean_recall,
    top5,
)
from edgestill.metrics.multilabel import exact_match, label_accuracy, label_counts, micro_f1
from edgestill.metrics.regression import mae, r2, root_mean, squared_errors
from edgestill.metrics.spec import MetricSpec
from edgestill.stats import ScoreOfSums

_F1_MACRO = ScoreOfSums(class_counts, macro_f1)
_RECALL = ScoreOfSums(class_counts, mean_recall)
_IOU = ScoreOfSums(class_counts, mean_jaccard)
_F1_MICRO = ScoreOfSums(label_counts, micro_f1)
_RMSE = ScoreOfSums(squared_errors, root_mean)

# fmt: off
_TABLE = (
    #          name                task                 per sample  bigger  unit     function
    MetricSpec("accuracy",          ("classification",), True,       True,  "pp",    accuracy),
    MetricSpec("top5",              ("classification",), True,       True,  "pp",    top5),
    MetricSpec("f1_macro",          ("classification",), False,      True,  "pp",    _F1_MACRO),
    MetricSpec("balanced_accuracy", ("classification",), False,      True,  "pp",    _RECALL),
    MetricSpec("mean_iou",          ("classification",), False,      True,  "pp",    _IOU),
    MetricSpec("label_accuracy",    ("multilabel",),     True,       True,  "pp",
               label_accuracy),
    MetricSpec("exact_match",       ("multilabel",),     True,       True,  "pp",    exact_match),
    MetricSpec("f1_micro",          ("multilabel",),     False,      True,  "pp",    _F1_MICRO),
    MetricSpec("mae",               ("regression",),     True,       False, "plain", mae),
    MetricSpec("rmse",              ("regression",),     False,      False, "plain", _RMSE),
    MetricSpec("r2",                ("regression",),     False,      True,  "plain", r2),
)
# fmt: on
METRICS: dict[str, MetricSpec] = {spec.name: spec for spec in _TABLE}


def score(metric: MetricSpec, predictions: Any, labels: NDArray[Any]) -> float:
    """The score of all samples.

    Raises:
        DataError: predictions and labels do not fit.
        ModelError: predictions have NaN.
    """
    return float(np.mean(metric.function(predictions, labels)))


def sample_scores(
    metric: MetricSpec, predictions: Any, labels: NDArray[Any]
) -> NDArray[np.float64]:
    """The score of each sample, `[n]`, whose mean is the score.

    Raises:
        DataError: the metric is of the whole set; or as `score`.
        ModelError: predictions have NaN.
    """
    if not metric.per_sample:
        raise DataError(f"{metric.name} is a metric of the whole set, not of each sample")
    return np.asarray(metric.function(predictions, labels), dtype=np.float64)
