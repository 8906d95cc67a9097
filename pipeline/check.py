"""What needs the models, found out before any training: shapes, classes, losses, the exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from edgestill.artifact import Dataset, OnnxModel
from edgestill.data.arrays import label_shape, load_ids, load_inputs, load_labels
from edgestill.distill.record import require_top_k
from edgestill.distill.stage import (
    open_peer,
    peer_losses,
    require_same_prediction,
    student_losses,
    teacher_layers,
)
from edgestill.errors import ModelError, about
from edgestill.export.config import CheckStep, Lesson
from edgestill.export.stage import write_onnx
from edgestill.models.config import ModelConfig
from edgestill.models.interface import require_classes
from edgestill.models.wrapper import DeviceModel
from edgestill.step import StepContext
from edgestill.train.freezing import unreached
from edgestill.train.learner import Learner, attended_tokens
from edgestill.train.losses.base import Labels, Loss, LossInputs, Outputs
from edgestill.train.onnx_teacher import OnnxTeacher
from edgestill.train.peers import peer_name
from edgestill.train.predict import to_tensors
from edgestill.train.reproducible import reproducible
from edgestill.train.stage import wrap
from edgestill.train.teachers import LiveTeacher
from edgestill.train.views import Views, require_whole_labels

SAMPLES = 8
TEACHER, STUDENT = "teacher", "student"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class CheckInputs:
    """The split that everything is tried on, and a teacher that is given as ONNX."""

    train: Dataset
    teacher: OnnxModel | None = None


def check(config: CheckStep, inputs: CheckInputs, out: Path, context: StepContext) -> None:
    """One batch through teacher, student, losses and exporter.

    Raises:
        ModelError: a model cannot be built or fed, or does not fit the data or its teacher.
        ExportError: a model cannot be exported.
    """
    arrays = {name: array[:SAMPLES] for name, array in load_inputs(inputs.train).items()}
    ids, labels = load_ids(inputs.train)[:SAMPLES], load_labels(inputs.train)
    views = [Views(augment, arrays, ids) for augment in config.augment]
    for augment in config.augment:
        require_whole_labels(augment, labels)
    summary: list[str] = []
    with reproducible(config.seed, torch.get_num_threads()):
        models = _built(config, inputs.train, context, summary)
        teachers: dict[str, DeviceModel | OnnxTeacher] = dict(models)
        if inputs.teacher is not None:
            mixed = next((view.mixed_input for view in views if view.mixed_input), None)
            threads = torch.get_num_threads()
            teachers[TEACHER] = OnnxTeacher(inputs.teacher, arrays, threads, mixed)
        for index, lesson in enumerate(config.lessons):
            context.progress(0.5 + index / len(config.lessons) / 4, f"try {lesson.name}")
            learner, teacher = models[lesson.learner], teachers.get(lesson.teacher or "")
            if teacher is not None:
                shapes = teacher.prediction_shape, learner.prediction_shape
                require_same_prediction(*shapes, where=lesson.name)
                require_top_k(lesson.top_k, teacher.prediction_shape)
            peers = _peers(config, lesson, learner, arrays, inputs.train, context)
            with about(lesson.name):
                _try_lesson(lesson, learner, teacher, peers, config.task, arrays, inputs.train)
        for role in (TEACHER, STUDENT):
            if role in models:
                context.progress(0.75, f"export {role}")
                folder = context.work / role
                folder.mkdir(parents=True, exist_ok=True)
                with about(role):
                    write_onnx(models[role].eval(), arrays, config.export, folder)
    summary += [f"{role}: predicts {m.prediction_shape}" for role, m in models.items()]
    (out / "check.txt").write_text("\n".join(summary) + "\n", encoding="utf-8")


def _configs(config: CheckStep) -> dict[str, ModelConfig]:
    """The models by their roles, each after those that it may learn from."""
    assistants = {f"assistant {i}": model for i, model in enumerate(config.assistants, 1)}
    models = {TEACHER: config.teacher, **assistants, STUDENT: config.student}
    return {role: model for role, model in models.items() if model is not None}


def _built(
    config: CheckStep, train: Dataset, context: StepContext, summary: list[str]
) -> dict[str, DeviceModel]:
    """Every model, fed with samples; what is derived from the teacher is told."""
    models: dict[str, DeviceModel] = {}
    configs = _configs(config)
    for role, model_config in configs.items():

        def told(line: str, role: str = role) -> None:
            summary.append(f"{role} from the teacher: {line}")
            context.say(summary[-1])

        context.progress(len(models) / len(configs) / 2, f"build {role}")
        with about(role):
            models[role] = wrap(model_config, train, config.task, context.base, say=told)
            _require_classes(models[role], model_config, train)
    return models


def _require_classes(model: DeviceModel, config: ModelConfig, train: Dataset) -> None:
    shape, labels = model.prediction_shape, label_shape(train)
    require_classes(shape, train.description, labels, config.classes)


def _peers(
    config: CheckStep,
    lesson: Lesson,
    student: DeviceModel,
    arrays: Arrays,
    train: Dataset,
    context: StepContext,
) -> list[Learner]:
    """Those that learn beside the student, each asked once."""
    batch = to_tensors(arrays, slice(None), torch.device("cpu"))
    peers = []
    for number, settings in enumerate(lesson.peers, 1):
        name = peer_name(number)
        context.progress(0.5, f"build {name}")
        peer = open_peer(settings, number, train, config.task, config.seed, context.base)
        with about(name):
            _require_classes(peer, settings, train)
            _require_gradient(peer.train().prediction(*batch))
        shapes = peer.prediction_shape, student.prediction_shape
        require_same_prediction(*shapes, name, lesson.name)
        peers.append(Learner(peer, peer_losses(lesson.losses, config.task, train, number)))
    return peers


def _try_lesson(
    lesson: Lesson,
    model: DeviceModel,
    teacher: DeviceModel | OnnxTeacher | None,
    peers: Sequence[Learner],
    task: str,
    arrays: Arrays,
    train: Dataset,
) -> None:
    """One step of a training's objective on the first samples, backwards too, and of its peers'."""
    if lesson.learn_from == "average":
        teacher = deepcopy(model)  # as which it starts
    taught = lesson.learn_from == "teacher"
    losses = student_losses(lesson.losses, task, train, taught=taught)
    batch = to_tensors(arrays, slice(None), torch.device("cpu"))
    answers = None if teacher is None else _answers(teacher, losses, batch)
    labels = load_labels(train)
    known = None if labels is None else Labels(torch.from_numpy(numpy.array(labels[:SAMPLES])))
    attended = attended_tokens(arrays, batch)
    given = partial(LossInputs, teacher=answers, labels=known, attended=attended)
    with _trainable_again(model):
        learner = Learner(model, losses, only=lesson.only, peers=peers)
        learner.train()
        learner.adapt(batch, given)
        for member, seen in zip(learner.learners, learner.batches(batch, given), strict=True):
            if member is not learner or not lesson.only:
                _require_gradient(seen.student.logits)
            for loss in member.own_terms:
                _try_loss(loss, seen)
        _require_reached(model, lesson.only)
        learner.taps.close()
    model.zero_grad()


@contextmanager
def _trainable_again(model: DeviceModel) -> Iterator[None]:
    """Let what is frozen for one lesson be free for the next."""
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    yield
    for parameter in free:
        parameter.requires_grad_(True)


def _answers(
    teacher: DeviceModel | OnnxTeacher, losses: Sequence[Loss], batch: list[torch.Tensor]
) -> Outputs | None:
    """What the teacher says of the first samples; None where no loss asks."""
    if not any(loss.needs_teacher for loss in losses):
        return None
    layers = teacher_layers(losses)
    rows = numpy.arange(len(batch[0]))
    if isinstance(teacher, OnnxTeacher):
        return teacher.answer(batch, rows, 0)
    with _trainable_again(teacher):
        asked = LiveTeacher(teacher, layers)
        answers = asked.answer(batch, rows, 0)
        asked.taps.close()
    return answers


def _require_reached(model: DeviceModel, only: Sequence[str]) -> None:
    """Refuse to train a part of a model that no loss depends on."""
    for path in unreached(model, only):
        raise ModelError(
            "no loss depends on it, so that it would learn nothing",
            where=f"only: {path}",
            fix="Leave it out, or add a loss that depends on it",
        )


def _require_gradient(logits: torch.Tensor) -> None:
    """Refuse a model in train mode that nothing can be taught."""
    if not logits.requires_grad:
        raise ModelError(
            "its prediction depends on no trainable parameter",
            fix="Look for detach, no_grad, argmax and requires_grad in the model, or set "
            "pretrained: true where nothing is to be trained",
        )


def _try_loss(loss: Loss, terms: LossInputs) -> None:
    logits = terms.student.logits
    try:
        value = loss(terms)
        if not value.requires_grad:
            raise ModelError(
                f"the loss {loss.name} depends on nothing that learns",
                fix="Leave it out, or let something learn that it depends on",
            )
        torch.autograd.backward(value, retain_graph=True)
    except (RuntimeError, IndexError, ValueError) as error:
        labels = f"labels {list(terms.labels.own.shape)}" if terms.labels else "no labels"
        raise ModelError(
            f"the loss {loss.name} cannot be computed from predictions "
            f"{list(logits.shape)} and {labels} ({error})",
            fix="Look at the model's output, the task, the labels and the losses",
        ) from error
    if not torch.isfinite(value):
        raise ModelError(
            f"the loss {loss.name} is {float(value.detach())} on the first {len(logits)} samples",
            fix="Look at normalize: and at the model's initial weights",
        )
