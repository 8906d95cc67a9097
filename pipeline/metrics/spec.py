"""What a metric is, and how a user's own function becomes one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError
from edgestill.reference import describe

Task = Literal["classification", "multilabel", "regression", "custom"]
Array: TypeAlias = NDArray[Any]
Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class MetricSpec:
    """A metric.

    Attributes:
        tasks: where it can be used.
        per_sample: True if the score is the mean of one number per sample; then two models are
            compared sample by sample, else by resampling the set.
        unit: "pp" where scores are proportions, so that a difference may be given in points.
        function: of (predictions, labels): `[n] float64` when `per_sample`, else a float. A
            user's function gets what the model gave: one array, or several by name.
    """

    name: str
    tasks: tuple[Task, ...]
    per_sample: bool
    bigger_is_better: bool
    unit: Literal["pp", "plain"]
    function: Callable[[Any, Array], Any]


@dataclass(frozen=True)
class UserMetric:
    """A metric from the user's code.

    Attributes:
        reference: "file.py:callable" or "package.module:callable". It is called with (outputs,
            labels), outputs being an array `[n, ...]`, or a dict of them by name when the model
            has several outputs; it returns one number.
    """

    reference: str
    better: Literal["bigger", "smaller"]

    def load(self, loader: Callable[[str], Callable[..., Any]]) -> MetricSpec:
        """The metric, with the callable that `loader` finds for `reference`."""
        function = loader(self.reference)

        def checked(outputs: Any, labels: Array) -> float:
            try:
                value = function(outputs, labels)
            except Exception as raised:
                raise DataError(
                    f"the metric raised {describe(raised)}",
                    where=self.reference,
                    fix="--debug shows the traceback",
                ) from raised
            if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
                value = value.item()
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise DataError(
                    f"the metric returned {_described(value)}",
                    where=self.reference,
                    fix="Return one number, such as float(correct.mean())",
                )
            number = float(value)
            if not math.isfinite(number):
                raise DataError(
                    f"the metric returned {number}",
                    where=self.reference,
                    fix="Return a finite number for these outputs and labels",
                )
            return number

        return MetricSpec(
            # Never a built-in metric's name, by which a report would take it for that one.
            name=f"{self.reference.rpartition(':')[2]}()",
            tasks=("classification", "multilabel", "regression", "custom"),
            per_sample=False,
            bigger_is_better=self.better == "bigger",
            unit="plain",
            function=checked,
        )


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)}"
    return f"{value!r}, a {type(value).__name__}"
