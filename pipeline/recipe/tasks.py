"""What fits which task, for checks that load nothing; the tests hold it to `edgestill.metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from edgestill.recipe.schema import OWN_METRIC, Task

TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class MetricFacts:
    """Attributes:
    tasks: the tasks whose answers it can judge.
    bigger_is_better: which way it points.
    proportion: whether it lies between 0 and 1, so that points (pp) of it have a meaning.
    """

    tasks: tuple[Task, ...]
    bigger_is_better: bool = True
    proportion: bool = True


METRIC_FACTS: Mapping[str, MetricFacts] = {
    "accuracy": MetricFacts(("classification",)),
    "label_accuracy": MetricFacts(("multilabel",)),
    "rmse": MetricFacts(("regression",), bigger_is_better=False, proportion=False),
    "mae": MetricFacts(("regression",), bigger_is_better=False, proportion=False),
}
DEFAULT_METRICS: Mapping[Task, str] = {
    "classification": "accuracy",
    "multilabel": "label_accuracy",
    "regression": "rmse",
}

_CLASSES: tuple[Task, ...] = ("classification", "multilabel")
# Every loss of LOSS_CONFIGS, and the tasks it can train. A custom task's outputs are the user's
# own, so that only a distance to the teacher's or the labels' values has a meaning.
LOSS_TASKS: Mapping[str, Sequence[Task]] = {"ce": _CLASSES, "kd": _CLASSES, "mse": TASKS}


def metrics_of(task: str) -> tuple[str, ...]:
    """The metrics that can judge a task, its default first."""
    names = [name for name, facts in METRIC_FACTS.items() if task in facts.tasks]
    return tuple(sorted(names, key=lambda name: name != DEFAULT_METRICS.get(task)))  # type: ignore[call-overload]


def gate_metrics(task: str, own: bool) -> tuple[str, ...]:
    """The names a score gate may have; `own` where the recipe brings a metric of its own."""
    return (*metrics_of(task), *((OWN_METRIC,) if own else ()))
