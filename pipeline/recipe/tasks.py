"""What fits which task, for checks that load nothing; the tests hold it to `edgestill.metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from edgestill.recipe.schema import Task

TASKS: tuple[Task, ...] = get_args(Task)


@dataclass(frozen=True)
class MetricFacts:
    """Attributes:
    tasks: the tasks whose answers it can judge.
    bigger_is_better: which way it points.
    proportion: whether it lies between 0 and 1, so that points (pp) of it have a meaning.
    right_or_wrong: whether it is the share of samples that are right.
    """

    tasks: tuple[Task, ...]
    bigger_is_better: bool = True
    proportion: bool = True
    right_or_wrong: bool = False


_CLASSES: tuple[Task, ...] = ("classification",)
_LABELS: tuple[Task, ...] = ("multilabel",)
_VALUES: tuple[Task, ...] = ("regression",)
METRIC_FACTS: Mapping[str, MetricFacts] = {
    "accuracy": MetricFacts(_CLASSES, right_or_wrong=True),
    "top5": MetricFacts(_CLASSES, right_or_wrong=True),
    "f1_macro": MetricFacts(_CLASSES),
    "balanced_accuracy": MetricFacts(_CLASSES),
    "mean_iou": MetricFacts(_CLASSES),
    "label_accuracy": MetricFacts(_LABELS),
    "exact_match": MetricFacts(_LABELS, right_or_wrong=True),
    "f1_micro": MetricFacts(_LABELS),
    "mae": MetricFacts(_VALUES, bigger_is_better=False, proportion=False),
    "rmse": MetricFacts(_VALUES, bigger_is_better=False, proportion=False),
    "r2": MetricFacts(_VALUES, proportion=False),
}
# Not label_accuracy, which flatters a model that predicts nothing; nor rmse, whose differences
# cannot be taken sample by sample.
DEFAULT_METRICS: Mapping[Task, str] = {
    "classification": "accuracy",
    "multilabel": "f1_micro",
    "regression": "mae",
}

# Every loss of LOSS_CONFIGS, and the tasks it can train: of a custom task nothing is known but
# that outputs are numbers.
LOSS_TASKS: Mapping[str, Sequence[Task]] = {
    "ce": (*_CLASSES, *_LABELS),
    "kd": (*_CLASSES, *_LABELS),
    "dkd": (*_CLASSES, *_LABELS),
    "dist": (*_CLASSES, *_LABELS),
    "mse": TASKS,
    "hint": TASKS,
    "hidden": TASKS,
    "attention": TASKS,
    "similarity": TASKS,
    "relation": TASKS,
    "minilm": TASKS,
    "adversarial": TASKS,
    "heads": (*_CLASSES, *_LABELS),
}


def metrics_of(task: str) -> tuple[str, ...]:
    """The metrics that can judge a task."""
    return tuple(name for name, facts in METRIC_FACTS.items() if task in facts.tasks)
