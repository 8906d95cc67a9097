"""Which metric a recipe asks for."""

from __future__ import annotations

from typing import Literal

from edgestill.config import config


@config
class FunctionMetric:
    """A user's own metric.

    Attributes:
        function: `file.py:callable`.
        better: which way it points.
    """

    function: str
    better: Literal["bigger", "smaller"]


# A name in `edgestill.metrics.METRICS`, or a user's own.
MetricConfig = str | FunctionMetric
