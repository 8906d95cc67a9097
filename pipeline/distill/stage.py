"""Distillation: a student learns from labels, and from others that see the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch.optim.swa_utils import AveragedModel

from edgestill.artifact import Checkpoint, Dataset, Recording
from edgestill.data.arrays import load_ids
from edgestill.digest import canonical
from edgestill.distill.config import DistillStep
from edgestill.distill.teacher import TeacherModel, open_teacher
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
from edgestill.train.recording import RecordedTeacher
from edgestill.train.reproducible import derived_seed, reproducible, seed_everything
from edgestill.train.stage import (
    load_checkpoint,
    make_objective,
    require_labels,
    samples,
    wrap,
    write_trained,
)
from edgestill.train.teachers import AverageTeacher, Teacher


@dataclass(frozen=True)
class DistillInputs:
    """The splits that the student sees, who teaches it, and what it starts from.

    Attributes:
        teacher: None where no other model teaches.
        recording: what the teacher said of the train split, if that was kept.
        origin: the model that the student is derived from, if it is.
        start: the student as the stage before left it, if there was one.
    """

    train: Dataset
    validation: Dataset
    teacher: TeacherModel | None = None
    recording: Recording | None = None
    origin: Checkpoint | None = None
    start: Checkpoint | None = None


def distill(
    config: DistillStep, inputs: DistillInputs, out: Path, context: StepContext
) -> Checkpoint:
    """A student trained from a teacher, from its own average or from peers.

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
    distill = config.distill
    taught = distill.learn_from == "teacher"
    losses = student_losses(distill.losses, config.task, inputs.train, taught=taught)
    average = None
    if distill.learn_from == "average" and distill.ema is not None:
        average = make_average(student, distill.ema)
    teacher = _teacher(config, inputs, losses, student, average, context)
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


def _teacher(
    config: DistillStep,
    inputs: DistillInputs,
    losses: Sequence[Loss],
    student: DeviceModel,
    average: AveragedModel | None,
    context: StepContext,
) -> Teacher | None:
    if average is not None:
        return AverageTeacher(cast(DeviceModel, average.module), teacher_layers(losses))
    if inputs.teacher is None or config.distill.learn_from != "teacher":
        return None
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
