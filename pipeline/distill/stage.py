"""Distillation: a student learns from labels, and from others that see the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from torch.optim.swa_utils import AveragedModel

from edgestill.artifact import Checkpoint, Dataset, Recording
from edgestill.data.arrays import load_ids
from edgestill.digest import canonical
from edgestill.distill.config import DistillStep
from edgestill.distill.teacher import (
    Asking,
    TeacherModel,
    heard_teachers,
    identity,
    make_ensemble,
    open_teacher,
)
from edgestill.errors import ModelError, about
from edgestill.models.config import ModelConfig
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.loop import Trainer
from edgestill.train.losses import default_losses, make_losses
from edgestill.train.losses.base import Loss
from edgestill.train.losses.config import LossConfig, Tap, reads_of
from edgestill.train.optimizers import make_average
from edgestill.train.peers import Peer, peer_name
from edgestill.train.reproducible import derived_seed, reproducible, seed_everything
from edgestill.train.stage import (
    load_checkpoint,
    make_objective,
    require_labels,
    samples,
    wrap,
    write_trained,
)
from edgestill.train.teachers.base import Teacher
from edgestill.train.teachers.ensemble import Ensemble
from edgestill.train.teachers.live import AverageTeacher
from edgestill.train.teachers.recorded import RecordedTeacher
from edgestill.train.voices import TEACHER, role_of


@dataclass(frozen=True)
class DistillInputs:
    """The splits that the student sees, who teaches it, and what it starts from.

    Attributes:
        teachers: by name, those that are no functions.
        recordings: by name, what teachers said of the train split, if that was kept.
        origin: the model that the student is derived from, if it is.
        start: the student as the stage before left it, if there was one.
    """

    train: Dataset
    validation: Dataset
    teachers: Mapping[str, TeacherModel] = field(default_factory=dict)
    recordings: Mapping[str, Recording] = field(default_factory=dict)
    origin: Checkpoint | None = None
    start: Checkpoint | None = None


def distill(
    config: DistillStep, inputs: DistillInputs, out: Path, context: StepContext
) -> Checkpoint:
    """A student trained from its teachers, from its own average or from peers.

    Raises:
        ModelError: they predict different shapes, or the training diverges.
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
    distill = config.distill
    taught = distill.learn_from == "teacher"
    losses = student_losses(distill.losses, config.task, inputs.train, taught=taught)
    average = None
    if distill.learn_from == "average" and distill.ema is not None:
        average = make_average(student, distill.ema)
    teacher = _teachers(config, inputs, losses, student, average, context)
    objective = make_objective(losses, teacher, student, config.metric, context.base)
    return Trainer(
        student,
        replace(objective, peers=_peers(config, inputs.train, student, context.base)),
        distill,
        config.seed,
        context.work,
        samples(inputs.train),
        context.say,
        average,
    )


def student_losses(
    chosen: Sequence[LossConfig], task: str, train: Dataset, *, taught: bool = True
) -> tuple[Loss, ...]:
    """The losses of a recipe, or the task's usual ones; without labels, those of the teacher.

    Args:
        taught: by a teacher; a student's average and its peers know no more than the labels say.

    Raises:
        ModelError: a loss reads labels, and the train split has none.
    """
    usual = default_losses(task, teacher=True, taught=taught)
    if taught and not train.labels_path.is_file():
        usual = tuple(loss for loss in usual if not reads_of(loss).labels)
    losses = make_losses(chosen or usual, task)
    require_labels(losses, train)
    return losses


def _teachers(
    config: DistillStep,
    inputs: DistillInputs,
    losses: Sequence[Loss],
    student: DeviceModel,
    average: AveragedModel | None,
    context: StepContext,
) -> Ensemble | None:
    distill = config.distill
    asking = Asking(inputs.train, distill.augment, config.task, config.threads, context.base)
    heard = heard_teachers(config.teachers, losses, distill.teachers)

    def opened(name: str, layers: tuple[Tap, ...]) -> Teacher:
        if average is not None:
            return AverageTeacher(cast(DeviceModel, average.module), layers)
        settings, model = config.teachers[name], inputs.teachers.get(name)
        if name in inputs.recordings:
            ids, augment = load_ids(inputs.train), canonical(distill.augment)
            recording = inputs.recordings[name]
            return RecordedTeacher(recording, ids, identity(settings, model), augment)
        teacher = open_teacher(role_of(name), settings, model, layers, asking)
        if name in heard:
            shapes = teacher.prediction_shape, student.prediction_shape
            require_same_prediction(*shapes, f"the {role_of(name)}")
        return teacher

    names = (TEACHER,) if average is not None else config.teachers
    return make_ensemble(names, losses, distill.teachers, config.task, opened)


def _peers(
    config: DistillStep, train: Dataset, student: DeviceModel, base: Path
) -> tuple[Peer, ...]:
    distill, task = config.distill, config.task
    peers = []
    for number, settings in enumerate(distill.peers, 1):
        model = open_peer(settings.as_model, number, train, task, config.seed, base)
        name = peer_name(number)
        require_same_prediction(model.prediction_shape, student.prediction_shape, name)
        losses = peer_losses(distill.losses, task, train, number)
        score = make_objective(losses, None, model, config.metric, base).score
        peers.append(Peer(model, losses, score))
    return tuple(peers)


def open_peer(
    model: ModelConfig,
    number: int,
    train: Dataset,
    task: str,
    seed: int,
    base: Path,
) -> DeviceModel:
    """The peer of this number, counted from 1, before its training.

    Raises:
        ModelError: it cannot be built or fed.
    """
    # Of one architecture, two that start alike would have nothing to tell each other.
    seed_everything(derived_seed(seed, peer_name(number)))
    with about(peer_name(number)):
        return wrap(model, train, task, base)


def peer_losses(
    chosen: Sequence[LossConfig], task: str, train: Dataset, number: int
) -> tuple[Loss, ...]:
    """What trains it: the student's losses, but for those that read the student's layers."""
    losses = student_losses(chosen, task, train, taught=False)
    own = tuple(loss for loss in losses if not loss.reads.student)
    for loss in own:
        loss.name = f"{peer_name(number)} {loss.name}"
    return own


def require_same_prediction(
    teacher: tuple[int, ...],
    student: tuple[int, ...],
    name: str = "the teacher",
    where: str = "student",
) -> None:
    """Refuse a pair whose predictions cannot be compared.

    Args:
        name: who says what the student learns.
        where: whose training it is.

    Raises:
        ModelError: the shapes after the batch differ.
    """
    if teacher != student:
        raise ModelError(
            f"{name} predicts {list(teacher)} values per sample, the student {list(student)}",
            where=where,
            fix="Give both a prediction of one shape, or name the outputs that match with output:",
        )
