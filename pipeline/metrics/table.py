"""The table of metrics, and scoring by it."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError
from edgestill.metrics.classification import accuracy, balanced_accuracy, f1_macro, top5
from edgestill.metrics.multilabel import exact_match, f1_micro, label_accuracy
from edgestill.metrics.regression import mae, r2, rmse
from edgestill.metrics.spec import MetricSpec, Task

# fmt: off
_TABLE = (
    #          name                task                 per sample  bigger  unit     function
    MetricSpec("accuracy",          ("classification",), True,       True,  "pp",    accuracy),
    MetricSpec("top5",              ("classification",), True,       True,  "pp",    top5),
    MetricSpec("f1_macro",          ("classification",), False,      True,  "pp",    f1_macro),
    MetricSpec("balanced_accuracy", ("classification",), False,      True,  "pp",
               balanced_accuracy),
    MetricSpec("label_accuracy",    ("multilabel",),     True,       True,  "pp",
               label_accuracy),
    MetricSpec("exact_match",       ("multilabel",),     True,       True,  "pp",    exact_match),
    MetricSpec("f1_micro",          ("multilabel",),     False,      True,  "pp",    f1_micro),
    MetricSpec("mae",               ("regression",),     True,       False, "plain", mae),
    MetricSpec("rmse",              ("regression",),     False,      False, "plain", rmse),
    MetricSpec("r2",                ("regression",),     False,      True,  "plain", r2),
)
# fmt: on
METRICS: dict[str, MetricSpec] = {spec.name: spec for spec in _TABLE}

# Of multi-label metrics, label_accuracy flatters a model that predicts nothing.
_DEFAULTS: dict[Task, str] = {
    "classification": "accuracy",
    "multilabel": "f1_micro",
    "regression": "mae",
}


def default_metric(task: Task) -> MetricSpec:
    """The metric that a task is judged by when the recipe names none.

    Raises:
        DataError: a custom task, which has none.
    """
    if task not in _DEFAULTS:
        raise DataError(
            f"a {task} task has no metric of its own",
            fix="Give one: metric: {function: 'file.py:callable', better: bigger}",
        )
    return METRICS[_DEFAULTS[task]]


def metric_named(name: str, task: Task) -> MetricSpec:
    """The metric `name` of `task`.

    Raises:
        DataError: unknown, or of another task. `accuracy` of several labels is refused too: some
            mean label_accuracy by it, others exact_match.
    """
    allowed = [spec.name for spec in _TABLE if task in spec.tasks]
    if name in allowed:
        return METRICS[name]
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    known = ", ".join(allowed) if allowed else "only your own (function: 'file.py:callable')"
    raise DataError(f"'{name}' is not a metric of {task}", fix=f"{hint}Metrics: {known}")


def score(metric: MetricSpec | str, predictions: Any, labels: NDArray[Any]) -> float:
    """The score of all samples.

    Raises:
        DataError: predictions and labels do not fit.
        ModelError: predictions have NaN.
    """
    spec = METRICS[metric] if isinstance(metric, str) else metric
    return float(np.mean(spec.function(predictions, labels)))


def sample_scores(
    metric: MetricSpec | str, predictions: Any, labels: NDArray[Any]
) -> NDArray[np.float64]:
    """The score of each sample, `[n]`, whose mean is the score.

    Raises:
        DataError: the metric is of the whole set; or as `score`.
        ModelError: predictions have NaN.
    """
    spec = METRICS[metric] if isinstance(metric, str) else metric
    if not spec.per_sample:
        raise DataError(f"{spec.name} is a metric of the whole set, not of each sample")
    return np.asarray(spec.function(predictions, labels), dtype=np.float64)
