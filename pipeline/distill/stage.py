"""Distillation: a student learns from labels and from a teacher that sees the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgestill.artifact import Checkpoint, Dataset, Recording
from edgestill.data.arrays import load_ids
from edgestill.digest import canonical
from edgestill.distill.config import DistillStep
from edgestill.distill.teacher import TeacherModel, open_teacher
from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.loop import Trainer
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Loss
from edgestill.train.losses.config import LossConfig, Tap, reads_of
from edgestill.train.recording import RecordedTeacher
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import (
    load_checkpoint,
    make_objective,
    require_labels,
    samples,
    wrap,
    write_trained,
)
from edgestill.train.teachers import Teacher


@dataclass(frozen=True)
class DistillInputs:
    """The teacher, the splits that the student sees, and what it starts from.

    Attributes:
        recording: what the teacher said of the train split, if that was kept.
        origin: the model that the student is derived from, if it is.
        start: the student as the stage before left it, if there was one.
    """

    teacher: TeacherModel
    train: Dataset
    validation: Dataset
    recording: Recording | None = None
    origin: Checkpoint | None = None
    start: Checkpoint | None = None


def distill(
    config: DistillStep, inputs: DistillInputs, out: Path, context: StepContext
) -> Checkpoint:
    """A student trained from a teacher.

    Raises:
        ModelError: the two predict different shapes, or the training diverges.
    """
    with reproducible(config.seed, config.threads):
        trainer = student_trainer(config, inputs, context)
        trained = trainer.run(samples(inputs.validation), context.progress, keep=config.keep)
    return write_trained(trainer, trained, config.student, "distilled", out)


def student_trainer(config: DistillStep, inputs: DistillInputs, context: StepContext) -> Trainer:
    """The training of a student, before its first step."""
    student = wrap(config.student, inputs.train, config.task, context.base, teacher=inputs.origin)
    if inputs.start is not None:
        load_checkpoint(student, inputs.start)
    losses = student_losses(config.distill.losses, config.task, inputs.train)
    teacher = _teacher(config, inputs, losses, student, context)
    return Trainer(
        student,
        make_objective(losses, teacher, student, config.metric, context.base),
        config.distill,
        config.seed,
        context.work,
        samples(inputs.train),
        context.say,
    )


def student_losses(chosen: Sequence[LossConfig], task: str, train: Dataset) -> tuple[Loss, ...]:
    """The losses of a recipe, or the task's usual ones; without labels, those of the teacher.

    Raises:
        ModelError: a loss of the recipe reads labels, and the train split has none.
    """
    usual = default_losses(task, teacher=True)
    if not train.labels_path.is_file():
        usual = tuple(loss for loss in usual if not reads_of(loss).labels)
    losses = make_losses(chosen or usual, task)
    require_labels(losses, train)
    return losses


def _teacher(
    config: DistillStep,
    inputs: DistillInputs,
    losses: Sequence[Loss],
    student: DeviceModel,
    context: StepContext,
) -> Teacher | None:
    if inputs.recording is not None:
        augment = canonical(config.distill.augment)
        ids = load_ids(inputs.train)
        return RecordedTeacher(inputs.recording, ids, inputs.teacher.digest, augment)
    if not any(loss.needs_teacher for loss in losses):
        return None
    layers, augment = teacher_layers(losses), config.distill.augment
    teacher = open_teacher(config, inputs.teacher, inputs.train, layers, augment, context)
    require_same_prediction(teacher.prediction_shape, student.prediction_shape)
    return teacher


def teacher_layers(losses: Sequence[Loss]) -> tuple[Tap, ...]:
    """What the losses read of the teacher's layers, each once."""
    return tuple(dict.fromkeys(tap for loss in losses for tap in loss.reads.teacher))


def require_same_prediction(
    teacher: tuple[int, ...], student: tuple[int, ...], where: str = "student"
) -> None:
    """Refuse a pair whose predictions cannot be compared.

    Args:
        where: whose training it is.

    Raises:
        ModelError: the shapes after the batch differ.
    """
    if teacher != student:
        raise ModelError(
            f"the teacher predicts {list(teacher)} values per sample, the student {list(student)}",
            where=where,
            fix="Give both a prediction of one shape, or name the outputs that match with output:",
        )
