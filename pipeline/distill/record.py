"""Recording: a teacher answers every view of the train split, once for all trainings."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from edgestill.artifact import Column, Dataset, Recording, RecordingDescription
from edgestill.data.arrays import load_ids, load_inputs
from edgestill.digest import canonical
from edgestill.distill.config import RecordStep
from edgestill.distill.teacher import Asking, TeacherModel, identity, open_teacher
from edgestill.errors import ModelError
from edgestill.step import StepContext
from edgestill.train.accelerator import join_processes
from edgestill.train.losses.base import Outputs
from edgestill.train.predict import BATCH
from edgestill.train.reproducible import reproducible
from edgestill.train.teachers.base import Teacher
from edgestill.train.teachers.recorded import ColumnWriter, ids_digest
from edgestill.train.views import Views
from edgestill.train.voices import TEACHER


@dataclass(frozen=True)
class RecordInputs:
    """The split that students will see, and the teacher; None for one that is a function."""

    train: Dataset
    teacher: TeacherModel | None = None


def record(config: RecordStep, inputs: RecordInputs, out: Path, context: StepContext) -> Recording:
    """The teacher's answers on `config.cache.views` views of each sample.

    A killed recording goes on with the first view that is not complete.

    Raises:
        ModelError: a layer that the teacher does not have, or a value that cannot be kept.
    """
    ids = load_ids(inputs.train)
    with reproducible(0, config.threads):
        asking = Asking(inputs.train, config.augment, config.task, config.threads, context.base)
        teacher = open_teacher(TEACHER, config.teacher, inputs.teacher, config.layers, asking)
        device = join_processes().device
        views = Views(config.augment, load_inputs(inputs.train), ids)
        columns = _columns(config, teacher.prediction_shape)
        for view in range(config.cache.views):
            folder = context.work / "views" / str(view)
            if not folder.is_dir():
                _record_view(config, teacher, views, view, columns, folder, context, device)
    # Linked, not moved: until the result is committed, a next try finds its views.
    shutil.copytree(context.work / "views", out / "views", copy_function=os.link)
    description = RecordingDescription(
        teacher=identity(config.teacher, inputs.teacher),
        samples=ids_digest(ids),
        augment=canonical(config.augment),
        views=config.cache.views,
        count=len(ids),
        columns=columns,
    )
    return Recording.seal(out, description)


def _columns(config: RecordStep, prediction: tuple[int, ...]) -> tuple[Column, ...]:
    top_k = config.cache.top_k
    columns = [Column(tap.layer, tap.part, 0, None) for tap in config.layers]
    if config.prediction:
        require_top_k(top_k, prediction)
        classes = prediction[0] if prediction else 1
        columns.insert(0, Column(None, "output", classes, top_k))
    return tuple(columns)


def require_top_k(top_k: int | None, prediction: tuple[int, ...]) -> None:
    """Refuse to keep some of the classes where that is all of them.

    Raises:
        ModelError: `prediction`, the shape for one sample, has no more classes.
    """
    classes = prediction[0] if prediction else 1
    if top_k is not None and top_k >= classes:
        raise ModelError(
            f"top_k keeps {top_k} of {classes} classes",
            where="distill.cache.top_k",
            fix="Lower it, or leave it out",
        )


def _record_view(
    config: RecordStep,
    teacher: Teacher,
    views: Views,
    view: int,
    columns: tuple[Column, ...],
    folder: Path,
    context: StepContext,
    device: torch.device,
) -> None:
    """One view of all samples, in a folder that appears when it is complete."""
    unfinished = folder.with_name(f"{view}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    count = len(views.ids)
    with ExitStack() as files:
        writers = [
            files.enter_context(
                closing(ColumnWriter(unfinished, index, column, count, config.cache.dtype))
            )
            for index, column in enumerate(columns)
        ]
        for start in range(0, count, BATCH):
            rows = numpy.arange(start, min(start + BATCH, count))
            seen = views.of(rows, view, device)
            answer = teacher.answer(seen.inputs, rows, view)
            for column, writer in zip(columns, writers, strict=True):
                writer.append(_values(column, answer))
            done = view + (start + len(rows)) / count
            context.progress(done / config.cache.views, f"view {view + 1}/{config.cache.views}")
    unfinished.rename(folder)


def _values(column: Column, answer: Outputs) -> torch.Tensor:
    if column.layer is None:
        return answer.logits
    return next(
        feature
        for tap, feature in answer.features.items()
        if (tap.layer, tap.part) == (column.layer, column.part)
    )
