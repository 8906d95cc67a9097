"""A recipe and its data in miniature: so small that the whole way can be tried in seconds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray

from edgestill.artifact import Dataset, Predictions
from edgestill.distill.config import SchemeConfig
from edgestill.metric_config import FunctionMetric
from edgestill.recipe import Recipe
from edgestill.recipe.schema import TrainedModelConfig
from edgestill.train.config import TrainConfig

SAMPLES = 8
# Of outputs that are repeated to stand for those of a whole split.
MOST_BYTES = 256 << 20
# Without its warm-up, a training's highest rate could spoil weights that nothing has trained.
_RATE = 1e-3

Schedule = TypeVar("Schedule", bound=TrainConfig)


def miniature(recipe: Recipe) -> Recipe:
    """The recipe with one step in place of each training, after which nothing is scored.

    A metric that is right about a whole split may refuse a few samples, which lack most classes.
    """
    return replace(
        recipe,
        metric=FunctionMetric(f"{unscored.__module__}:{unscored.__name__}", "bigger"),
        teacher=recipe.teacher and _briefly_trained(recipe.teacher),
        teachers={name: _briefly_trained(teacher) for name, teacher in recipe.teachers.items()},
        assistants=tuple(
            replace(assistant, distill=assistant.distill and _one_step_each(assistant.distill))
            for assistant in recipe.assistants
        ),
        student=recipe.student and _briefly_trained(recipe.student),
        distill=recipe.distill and _one_step_each(recipe.distill),
    )


def unscored(outputs: Any, labels: Any) -> float:
    """The metric of a training whose best epoch is its only one."""
    del outputs, labels
    return 0.0


def _briefly_trained(model: TrainedModelConfig) -> TrainedModelConfig:
    return replace(model, train=model.train and _one_step(model.train))


def _one_step_each(scheme: SchemeConfig) -> SchemeConfig:
    """With one step in each stage, whose schedules give way to that of the whole."""
    stages = (replace(stage, epochs=None, learning_rate=None) for stage in scheme.stages)
    return replace(_one_step(scheme), stages=tuple(stages))


def _one_step(schedule: Schedule) -> Schedule:
    rate = schedule.learning_rate * _RATE
    return replace(schedule, epochs=1, batch_size=SAMPLES, learning_rate=rate, trackers=())


def write_sample(dataset: Dataset, out: Path) -> Dataset:
    """The first samples of a split, as the dataset `out`; a split is in the order of hashes."""
    for file in dataset.path.rglob("*.*"):
        target = out / file.relative_to(dataset.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".npy":
            rows = numpy.load(file, mmap_mode="r")[:SAMPLES]
            numpy.save(target, rows, allow_pickle=False)
        else:
            shutil.copyfile(file, target)
    count = min(SAMPLES, dataset.description.count)
    return Dataset.seal(out, replace(dataset.description, count=count))


def repeated(predictions: Predictions, count: int) -> dict[str, NDArray[Any]]:
    """The answers to a few samples, over and over, as outputs of `count` samples by name.

    Of fewer, where so many would take more than `MOST_BYTES`.
    """
    names = predictions.description.outputs
    outputs = {name: numpy.load(predictions.output_path(name)) for name in names}
    row = sum(output[0].nbytes for output in outputs.values())
    count = min(count, max(predictions.description.count, MOST_BYTES // row))
    return {
        name: numpy.resize(output, (count, *output.shape[1:])) for name, output in outputs.items()
    }
