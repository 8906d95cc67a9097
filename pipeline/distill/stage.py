"""Distillation: a student learns from labels and from teachers that see the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgestill.artifact import Checkpoint, Dataset, Recording
from edgestill.data.arrays import load_ids
from edgestill.digest import canonical
from edgestill.distill.config import DistillStep
from edgestill.distill.teacher import (
    Asking,
    TeacherModel,
    identity,
    make_ensemble,
    open_teacher,
)
from edgestill.errors import ModelError
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.ensemble import Ensemble
from edgestill.train.loop import Trainer
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Loss
from edgestill.train.losses.config import LossConfig, Tap, reads_of
from edgestill.train.recording import RecordedTeacher
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import (
    make_objective,
    require_labels,
    samples,
    wrap,
    write_trained,
)
from edgestill.train.teachers import Teacher
from edgestill.train.voices import TEACHER, role_of, voices


@dataclass(frozen=True)
class DistillInputs:
    """The splits that the student sees; by teacher's name its model, where it is no function, and
    what it said of the samples, if that was kept."""

    train: Dataset
    validation: Dataset
    teachers: Mapping[str, TeacherModel] = field(default_factory=dict)
    recordings: Mapping[str, Recording] = field(default_factory=dict)


def distill(
    config: DistillStep, inputs: DistillInputs, out: Path, context: StepContext
) -> Checkpoint:
    """A student trained from its teachers.

    Raises:
        ModelError: they predict different shapes, or the training diverges.
    """
    with reproducible(config.seed, config.threads):
        trainer = student_trainer(config, inputs, context)
        trained = trainer.run(samples(inputs.validation), context.progress)
    return write_trained(trainer, trained, config.student, "distilled", out)


def student_trainer(config: DistillStep, inputs: DistillInputs, context: StepContext) -> Trainer:
    """The training of a student, before its first step."""
    # What is derived from the teacher starts from its weights; an ONNX file gives none.
    main = inputs.teachers.get(TEACHER)
    weights = main if isinstance(main, Checkpoint) else None
    student = wrap(config.student, inputs.train, config.task, context.base, teacher=weights)
    losses = student_losses(config.distill.losses, config.task, inputs.train)
    teacher = _teachers(config, inputs, losses, student, context)
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


def _teachers(
    config: DistillStep,
    inputs: DistillInputs,
    losses: Sequence[Loss],
    student: DeviceModel,
    context: StepContext,
) -> Ensemble | None:
    distill = config.distill
    asking = Asking(inputs.train, distill.augment, config.task, config.threads, context.base)
    heard = voices(distill.teachers, config.teachers)

    def opened(name: str, layers: tuple[Tap, ...]) -> Teacher:
        settings, model = config.teachers[name], inputs.teachers.get(name)
        if name in inputs.recordings:
            ids, augment = load_ids(inputs.train), canonical(distill.augment)
            recording = inputs.recordings[name]
            return RecordedTeacher(recording, ids, identity(settings, model), augment)
        teacher = open_teacher(name, settings, model, layers, asking)
        if name in heard:
            require_same_prediction(name, teacher.prediction_shape, student.prediction_shape)
        return teacher

    return make_ensemble(config.teachers, losses, distill.teachers, config.task, opened)


def require_same_prediction(name: str, teacher: tuple[int, ...], student: tuple[int, ...]) -> None:
    """Refuse a pair whose predictions cannot be compared.

    Raises:
        ModelError: the shapes after the batch differ.
    """
    if teacher != student:
        raise ModelError(
            f"the {role_of(name)} predicts {list(teacher)} values per sample, the student "
            f"{list(student)}",
            where="student",
            fix="Give both a prediction of one shape, or name the outputs that match with output:",
        )
