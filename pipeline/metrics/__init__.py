"""Task metrics on numpy arrays: what each task is scored by, and how far two models agree.

Predictions are a model's raw outputs (logits, or values), labels what the data set holds; the first
axis of both is the sample. Nothing here knows of torch or a runtime.
"""

from edgestill.metrics.agreement import AGREEMENTS, largest_difference
from edgestill.metrics.classification import IGNORED_LABEL
from edgestill.metrics.spec import MetricSpec, Task, UserMetric
from edgestill.metrics.table import METRICS, sample_scores, score

__all__ = [
    "AGREEMENTS",
    "IGNORED_LABEL",
    "METRICS",
    "MetricSpec",
    "Task",
    "UserMetric",
    "largest_difference",
    "sample_scores",
    "score",
]
